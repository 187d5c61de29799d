"""RAM policies: parsed strictly, then evaluated. An explicit deny wins over any allow; silence is a refusal."""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Decision = Literal["allow", "deny", "none"]
Condition = tuple[str, str, tuple[str, ...]]  # operator, context key, values

LONGEST = 6144  # characters of a policy document


class PolicyError(ValueError):
    """A policy document that can't be accepted: what is wrong with it, in one line."""


@dataclass(frozen=True)
class Statement:
    """One statement. `principals` holds ``(type, name)`` pairs of trust and bucket policies."""

    effect: Literal["Allow", "Deny"]
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    not_resources: tuple[str, ...] = ()
    principals: tuple[tuple[str, str], ...] = ()
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Access:
    """What is asked for: an action (``oss:GetObject``) on a resource, with the context that conditions look at."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def parse_policy(text: str, *, trust: bool = False, bucket: bool = False) -> tuple[Statement, ...]:
    """The statements of a policy document; `trust` for a role's trust policy, `bucket` for a bucket's.

    Raises:
        PolicyError: the document is malformed or uses an element that isn't supported.
    """
    if len(text) > LONGEST:
        raise PolicyError(f"the policy has {len(text)} characters, at most {LONGEST} are allowed")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise PolicyError(f"the policy is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("Version") != "1":
        raise PolicyError('the policy must be an object with "Version": "1"')
    if unknown := set(document) - {"Version", "Statement"}:
        raise PolicyError(f"the policy has the unknown element {min(unknown)}")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise PolicyError("Statement must be a list of at least one statement")
    return tuple(_statement(each, trust=trust, bucket=bucket) for each in statements)


def evaluate(statements: Iterable[Statement], access: Access) -> Decision:
    """What the statements together say; principals aren't looked at."""
    decision: Decision = "none"
    for statement in statements:
        if _applies(statement, access):
            if statement.effect == "Deny":
                return "deny"
            decision = "allow"
    return decision


def trusts(statements: Iterable[Statement], kind: str, name: str) -> bool:
    """Whether a trust policy lets this principal assume the role: ``("Service", "ecs.aliyuncs.com")``."""
    concerned = [each for each in statements if _names(each, kind, name) and "sts:AssumeRole" in each.actions]
    return bool(concerned) and all(each.effect == "Allow" for each in concerned)


def matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether `text` matches a pattern with ``*`` (any characters) and ``?`` (one)."""
    return _compiled(pattern, ignore_case).fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _names(statement: Statement, kind: str, name: str) -> bool:
    return any(known == kind and matches(pattern, name) for known, pattern in statement.principals)


def _applies(statement: Statement, access: Access) -> bool:
    def covered(patterns: tuple[str, ...], text: str, *, ignore_case: bool = False) -> bool:
        return any(matches(pattern, text, ignore_case=ignore_case) for pattern in patterns)

    if statement.actions and not covered(statement.actions, access.action, ignore_case=True):
        return False
    if statement.not_actions and covered(statement.not_actions, access.action, ignore_case=True):
        return False
    if statement.resources and not covered(statement.resources, access.resource):
        return False
    if statement.not_resources and covered(statement.not_resources, access.resource):
        return False
    return all(_holds(condition, access.context) for condition in statement.conditions)


def _statement(raw: Any, *, trust: bool, bucket: bool) -> Statement:
    if not isinstance(raw, dict):
        raise PolicyError("each statement must be an object")
    allowed = {"Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal", "Sid"}
    if unknown := set(raw) - allowed:
        raise PolicyError(f"the statement has the unknown element {min(unknown)}")
    effect = raw.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise PolicyError("Effect must be Allow or Deny")
    actions, not_actions = _strings(raw, "Action"), _strings(raw, "NotAction")
    resources, not_resources = _strings(raw, "Resource"), _strings(raw, "NotResource")
    if bool(actions) == bool(not_actions):
        raise PolicyError("each statement needs either Action or NotAction")
    if trust and (resources or not_resources):
        raise PolicyError("a trust policy has no Resource")
    if not trust and bool(resources) == bool(not_resources):
        raise PolicyError("each statement needs either Resource or NotResource")
    if ("Principal" in raw) != (trust or bucket):
        raise PolicyError("Principal belongs into trust and bucket policies, and only there")
    return Statement(
        effect,
        actions,
        not_actions,
        resources,
        not_resources,
        _principals(raw.get("Principal", {})),
        tuple(_conditions(raw.get("Condition", {}))),
    )


def _strings(raw: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = raw.get(name, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) and each for each in values):
        raise PolicyError(f"{name} must be a string or a list of strings")
    if name in raw and not values:
        raise PolicyError(f"{name} must not be empty")
    return tuple(values)


def _principals(raw: Any) -> tuple[tuple[str, str], ...]:
    if isinstance(raw, (str, list)):  # bucket policies: ["*"] or a list of account and role identifiers
        return tuple(("RAM", name) for name in _strings({"Principal": raw}, "Principal"))
    if not isinstance(raw, dict):
        raise PolicyError("Principal must be an object")
    if unknown := set(raw) - {"RAM", "Service", "Federated"}:
        raise PolicyError(f"Principal has the unknown type {min(unknown)}")
    return tuple((kind, name) for kind in raw for name in _strings(raw, kind))


def _conditions(raw: Any) -> Iterable[Condition]:
    if not isinstance(raw, dict):
        raise PolicyError("Condition must be an object")
    for operator, keys in raw.items():
        if operator not in _OPERATORS:
            raise PolicyError(f"the condition operator {operator} is not supported")
        if not isinstance(keys, dict):
            raise PolicyError(f"{operator} must be an object of context keys")
        for key in keys:
            yield operator, key, _strings(_texts(keys), key)


def _texts(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Booleans and numbers as the texts that the operators compare."""
    return {key: json.dumps(value) if isinstance(value, (bool, int)) else value for key, value in keys.items()}


def _holds(condition: Condition, context: Mapping[str, str]) -> bool:
    operator, key, values = condition
    if key not in context:
        return False
    compare = _OPERATORS[operator]
    actual = context[key]
    try:
        if operator in _NEGATIVE:
            return not any(compare(actual, value) for value in values)
        return any(compare(actual, value) for value in values)
    except ValueError:
        return False


def _in_network(actual: str, network: str) -> bool:
    return ipaddress.ip_address(actual) in ipaddress.ip_network(network, strict=False)


def _time(text: str) -> dt.datetime:
    parsed = dt.datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)


_NEGATIVE = {"StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike", "NotIpAddress", "NumericNotEquals"}
_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda a, b: a == b,
    "StringNotEquals": lambda a, b: a == b,
    "StringEqualsIgnoreCase": lambda a, b: a.lower() == b.lower(),
    "StringNotEqualsIgnoreCase": lambda a, b: a.lower() == b.lower(),
    "StringLike": lambda a, b: matches(b, a),
    "StringNotLike": lambda a, b: matches(b, a),
    "Bool": lambda a, b: a.lower() == b.lower(),
    "IpAddress": _in_network,
    "NotIpAddress": _in_network,
    "NumericEquals": lambda a, b: float(a) == float(b),
    "NumericNotEquals": lambda a, b: float(a) == float(b),
    "NumericLessThan": lambda a, b: float(a) < float(b),
    "NumericLessThanEquals": lambda a, b: float(a) <= float(b),
    "NumericGreaterThan": lambda a, b: float(a) > float(b),
    "NumericGreaterThanEquals": lambda a, b: float(a) >= float(b),
    "DateLessThan": lambda a, b: _time(a) < _time(b),
    "DateGreaterThan": lambda a, b: _time(a) > _time(b),
}
