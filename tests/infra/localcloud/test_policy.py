"""RAM policies: what they allow, what they refuse, what isn't a policy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.localcloud.policy import Access, PolicyError, evaluate, parse_policy, trusts


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "1", "Statement": list(statements)})


def allow(action: Any = "oss:GetObject", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.mark.parametrize(
    ("action", "resource", "decision"),
    [
        ("oss:GetObject", "acs:oss:oss-cn-hangzhou:1:data/raw/a", "allow"),
        ("OSS:getobject", "acs:oss:oss-cn-hangzhou:1:data/raw/a", "allow"),
        ("oss:GetObject", "acs:oss:oss-cn-hangzhou:1:data/Raw/a", "none"),
        ("oss:PutObject", "acs:oss:oss-cn-hangzhou:1:data/raw/a", "none"),
        ("oss:GetObject", "acs:oss:oss-cn-hangzhou:1:data/raw/secret", "deny"),
    ],
)
def test_an_explicit_deny_wins_and_silence_is_no_permission(action: str, resource: str, decision: str) -> None:
    statements = parse_policy(
        policy(
            allow(["oss:Get*"], ["acs:oss:*:*:data/raw/*"]),
            {"Effect": "Deny", "Action": "oss:*", "Resource": "acs:oss:*:*:data/raw/secret"},
        )
    )
    assert evaluate(statements, Access(action, resource)) == decision


@pytest.mark.parametrize(
    ("condition", "decision"),
    [
        ({"IpAddress": {"acs:SourceIp": ["10.0.0.0/8", "127.0.0.0/8"]}}, "allow"),
        ({"NotIpAddress": {"acs:SourceIp": "127.0.0.1"}}, "none"),
        ({"Bool": {"acs:SecureTransport": True}}, "allow"),
        ({"Bool": {"acs:SecureTransport": "false"}}, "none"),
        ({"StringLike": {"oss:Prefix": ["raw/*"]}}, "none"),
        ({"DateLessThan": {"acs:CurrentTime": "2100-01-01T00:00:00Z"}}, "allow"),
        ({"DateGreaterThan": {"acs:CurrentTime": "nonsense"}}, "none"),
    ],
)
def test_conditions(condition: dict[str, Any], decision: str) -> None:
    context = {"acs:SourceIp": "127.0.0.1", "acs:SecureTransport": "true", "acs:CurrentTime": "2026-01-01T00:00:00Z"}
    statements = parse_policy(policy(allow(Condition=condition)))
    assert evaluate(statements, Access("oss:GetObject", "any", context)) == decision


def test_trust_is_by_name_and_kind() -> None:
    trust = policy({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["ecs.aliyuncs.com"]}})
    statements = parse_policy(trust, trust=True)
    assert trusts(statements, "Service", "ecs.aliyuncs.com")
    assert not trusts(statements, "Service", "pai.aliyuncs.com")
    assert not trusts(statements, "RAM", "ecs.aliyuncs.com")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "Version"),
        ('{"Version": "1"}', "Statement"),
        (policy({"Effect": "Maybe", "Action": "*", "Resource": "*"}), "Effect"),
        (policy({"Effect": "Allow", "Resource": "*"}), "Action"),
        (policy({"Effect": "Allow", "Action": [], "Resource": "*"}), "empty"),
        (policy(allow(Principal={"RAM": "*"})), "Principal"),
        (policy(allow(Surprise=1)), "Surprise"),
        (policy(allow(Condition={"ArnEquals": {}})), "ArnEquals is not supported"),
        (policy(allow(["oss:*"] * 2000)), "characters"),
    ],
)
def test_what_is_no_policy(text: str, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        parse_policy(text)
