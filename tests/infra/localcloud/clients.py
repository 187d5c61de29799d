"""Official clients of the RPC services."""

from __future__ import annotations

from typing import Any

from alibabacloud_ram20150501.client import Client as RamClient
from alibabacloud_sts20150401.client import Client as StsClient
from alibabacloud_tea_openapi.client import Client
from alibabacloud_tea_openapi.models import Config, OpenApiRequest, Params
from darabonba.runtime import RuntimeOptions

REGION = "cn-hangzhou"


def config(
    local: Any,
    endpoint: str,
    *,
    scheme: str = "HTTP",
    key: tuple[str, str] | None = None,
    token: str = "",
    **more: Any,
) -> Config:
    """Settings of a client that reaches the local cloud through its proxy."""
    access_key_id, secret = key or local.key
    return Config(
        access_key_id=access_key_id,
        access_key_secret=secret,
        security_token=token or None,
        endpoint=endpoint,
        protocol=scheme,
        region_id=REGION,
        http_proxy=local.proxy,
        https_proxy=local.proxy,
        ca=local.bundle,
        **more,
    )


def ram(local: Any, **more: Any) -> RamClient:
    """A client of RAM."""
    return RamClient(config(local, "ram.aliyuncs.com", **more))


def sts(local: Any, **more: Any) -> StsClient:
    """A client of STS."""
    return StsClient(config(local, f"sts.{REGION}.aliyuncs.com", **more))


def call(
    local: Any, endpoint: str, version: str, action: str, query: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """The generic RPC call of the official SDK; the reply's body."""
    params = Params(
        action=action,
        version=version,
        protocol=more.get("scheme", "HTTP"),
        pathname="/",
        method="POST",
        auth_type="AK",
        style="RPC",
        req_body_type="formData",
        body_type="json",
    )
    client = Client(config(local, endpoint, **more))
    runtime = RuntimeOptions(autoretry=False, max_attempts=1)
    body: dict[str, Any] = client.call_api(params, OpenApiRequest(query=query or {}), runtime)["body"]
    return body
