"""Endpoints by the official SDK, and the provider's question about subscriptions."""

from __future__ import annotations

from typing import Any

from alibabacloud_location20150612 import models
from alibabacloud_location20150612.client import Client

from tests.infra.localcloud import clients


def endpoints(led: Any, code: str) -> list[str]:
    client = Client(clients.config(led, "location.aliyuncs.com"))
    request = models.DescribeEndpointsRequest(id="cn-hangzhou", service_code=code, type="openAPI")
    return [each.endpoint for each in client.describe_endpoints(request).body.endpoints.endpoint]


def test_endpoints(led: Any) -> None:
    assert endpoints(led, "ecs") == ["ecs.cn-hangzhou.aliyuncs.com"]
    assert endpoints(led, "kms") == []


def test_no_subscriptions(led: Any) -> None:
    body = clients.call(led, "business.aliyuncs.com", "2017-12-14", "QueryAvailableInstances", {"ProductCode": "ecs"})
    assert body["Data"]["TotalCount"] == 0
