"""What RAM's operations have in common: ids, times, tags given as JSON, pages."""

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from infra.localcloud.policy import PolicyError, Statement, parse_policy
from infra.localcloud.service import ApiError, ApiService, Call, Reply
from infra.localcloud.services.ram import records
from infra.localcloud.store import Document

MOST_TAGS = 20
_NAME = re.compile(r"[A-Za-z0-9.-]{1,64}")
_POLICY_NAME = re.compile(r"[A-Za-z0-9-]{1,128}")


class RamOperations(ApiService):
    """Base of the parts of the RAM service."""

    def role(self, name: str) -> Document:
        """The role's document.

        Raises:
            ApiError: there is no such role.
        """
        found = records.roles(self.cloud.store).get(name)
        if found is None:
            raise ApiError(404, "EntityNotExist.Role", f"The role not exists: {name}.")
        return found

    def policy(self, name: str) -> Document:
        """The custom policy's document.

        Raises:
            ApiError: there is no such policy.
        """
        found = records.policies(self.cloud.store).get(name)
        if found is None:
            raise ApiError(404, "EntityNotExist.Policy", f"The policy does not exist: {name}.")
        return found

    def attachments(self, policy_type: str, name: str) -> list[Document]:
        """The roles that a policy is attached to."""
        return [role for role in records.roles(self.cloud.store).values() if [policy_type, name] in role["Attached"]]


def now() -> str:
    """The time in the vendor's form."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_id() -> str:
    """An id in the vendor's form: 18 digits."""
    return "3" + "".join(secrets.choice("0123456789") for _ in range(17))


def checked_name(call: Call, parameter: str) -> str:
    """A role's or policy's new name.

    Raises:
        ApiError: it has characters or a length that the vendor refuses.
    """
    name = call.parameters[parameter]
    pattern = _POLICY_NAME if parameter == "PolicyName" else _NAME
    if not pattern.fullmatch(name):
        raise ApiError(
            400, f"InvalidParameter.{parameter}.InvalidChars", f"The parameter {parameter} is invalid: {name}."
        )
    return name


def checked_policy(text: str, *, trust: bool = False) -> tuple[Statement, ...]:
    """The statements of a policy document in a call.

    Raises:
        ApiError: the document isn't acceptable.
    """
    try:
        return parse_policy(text, trust=trust)
    except PolicyError as error:
        raise ApiError(400, "MalformedPolicyDocument", f"The policy document is malformed: {error}.") from error


def policy_type(call: Call) -> str:
    """The parameter ``PolicyType``.

    Raises:
        ApiError: it is neither Custom nor System.
    """
    value = call.parameters["PolicyType"]
    if value not in records.POLICY_TYPES:
        raise ApiError(400, "InvalidParameter.PolicyType", "PolicyType must be Custom or System.")
    return value


def tags(call: Call) -> dict[str, str]:
    """Tags of a call: a JSON list in ``Tag`` (the provider) or flattened (``Tag.1.Key``).

    Raises:
        ApiError: the list is malformed.
    """
    rows: Sequence[Mapping[str, Any]] = call.structures("Tag")
    if text := call.parameters.get("Tag"):
        rows = _json_list(text, "Tag")
    try:
        found = {str(row["Key"]): str(row.get("Value", "")) for row in rows}
    except (KeyError, AttributeError, TypeError) as error:
        raise ApiError(400, "InvalidParameter.Tag", "Each tag needs a Key.") from error
    if len(found) > MOST_TAGS:
        raise ApiError(400, "QuotaExceeded.TagsPerResource", f"At most {MOST_TAGS} tags are allowed.")
    return found


def names(call: Call, parameter: str) -> list[str]:
    """A list of names: JSON in one parameter (the provider) or flattened.

    Raises:
        ApiError: the list is malformed.
    """
    text = call.parameters.get(parameter)
    return [str(each) for each in _json_list(text, parameter)] if text else call.list_parameter(parameter)


def page(call: Call, key: str, kind: str, rows: list[Reply]) -> Reply:
    """One page of a list by ``Marker`` and ``MaxItems``.

    Raises:
        ApiError: a parameter isn't a number in its range.
    """
    start, most = call.parameters.get("Marker") or "0", call.parameters.get("MaxItems") or "100"
    if not start.isdigit() or not most.isdigit() or not 1 <= int(most) <= 1000:
        raise ApiError(
            400, "InvalidParameter.MaxItems", "MaxItems must be 1 to 1000, and Marker one that was returned."
        )
    end = int(start) + int(most)
    reply: Reply = {key: {kind: rows[int(start) : end]}, "IsTruncated": end < len(rows)}
    return {**reply, "Marker": str(end)} if end < len(rows) else reply


def _json_list(text: str, parameter: str) -> list[Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ApiError(400, f"InvalidParameter.{parameter}", f"{parameter} is not JSON: {error}.") from error
    if not isinstance(value, list):
        raise ApiError(400, f"InvalidParameter.{parameter}", f"{parameter} must be a JSON list.")
    return value
