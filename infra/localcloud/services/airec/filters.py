"""The filter of Recommend: base64url JSON that items are tested with."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

from infra.localcloud.service import ApiError

Fields = Mapping[str, Any]
Test = Callable[[Fields], bool]

_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "equal": lambda have, want: have == want,
    "not_equal": lambda have, want: have != want,
    "contain": lambda have, want: want in have.split(","),
    "not_contain": lambda have, want: want not in have.split(","),
    "in": lambda have, want: have in want.split(","),
    "not_in": lambda have, want: have not in want.split(","),
    "gt": lambda have, want: _number(have) > _number(want),
    "ge": lambda have, want: _number(have) >= _number(want),
    "lt": lambda have, want: _number(have) < _number(want),
    "le": lambda have, want: _number(have) <= _number(want),
}


def parse_filter(text: str) -> Test:
    """Makes a test of items' fields from the parameter ``filter``.

    Raises:
        ApiError: 400, it is not base64url JSON of ``{"join", "filters"}``.
    """
    try:
        # Clients leave the padding out or not.
        rule = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        raise _refusal("it is not base64url-encoded JSON") from None
    return _rule(rule)


def _rule(rule: Any) -> Test:
    if not isinstance(rule, dict):
        raise _refusal("a rule has to be an object")
    if "filters" in rule:
        join = rule.get("join", "and")
        if join not in ("and", "or") or not isinstance(rule["filters"], list):
            raise _refusal('"join" has to be "and" or "or", "filters" a list')
        tests = [_rule(part) for part in rule["filters"]]
        combine = all if join == "and" else any
        return lambda fields: combine(test(fields) for test in tests)
    if set(rule) != {"cond", "field", "value"} or rule["cond"] not in _COMPARISONS:
        raise _refusal(f'a condition has "field", "value" and a "cond" of {", ".join(_COMPARISONS)}')
    compare, name, want = _COMPARISONS[rule["cond"]], str(rule["field"]), str(rule["value"])
    return lambda fields: compare(str(fields.get(name, "")), want)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _refusal(reason: str) -> ApiError:
    return ApiError(400, "InvalidParameter", f"filter: {reason}.")
