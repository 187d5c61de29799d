"""What the VPC and ECS APIs have in common: ids, client tokens, tags, pages, names and times."""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from infra.localcloud.service import ApiError, ApiService, Call, Handler, Reply, operation
from infra.localcloud.store import Collection, Document

COMMON = ("RegionId", "OwnerId", "OwnerAccount", "ResourceOwnerId", "ResourceOwnerAccount")
"""Parameters that every operation of these services takes."""

TAGS = ("Tag.*",)
TOKEN_LIFETIME = 24 * 3600  # seconds that a client token is remembered
MOST_TAGS = 20

# The first letters of an id tell the region that issued it.
_REGION_MARKS = {"cn-hangzhou": "bp1", "cn-shanghai": "uf6", "cn-beijing": "2ze", "cn-shenzhen": "wz9"}
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class RpcService(ApiService):
    """Base of the parts of the VPC and ECS services: their collections and the checks before every operation."""

    def collection(self, name: str) -> Collection:
        """A collection of the state by its full name, for example ``vpc.vswitch``."""
        return self.cloud.store.collection(name)

    def new_id(self, prefix: str) -> str:
        """A new id in the vendor's form, ``vpc-bp1`` and 19 more letters and digits."""
        mark = _REGION_MARKS.get(self.cloud.region, "t4n")
        return f"{prefix}-{mark}" + "".join(secrets.choice(_ALPHABET) for _ in range(19))

    kinds: ClassVar[Mapping[str, str]] = {}
    """Parameters that name a resource, and what RAM calls its kind: the first that a call has decides."""

    def resource(self, call: Call) -> str:
        """The resource that a call is about, as RAM names it: ``acs:ecs:<region>:<account>:instance/i-...``."""
        start = f"acs:{self.ram_code or self.name}:{call.region}:{self.cloud.account_id}:"
        for parameter, kind in self.kinds.items():
            named = call.parameters.get(parameter) or next(iter(call.list_parameter(parameter)), "")
            if named and not named.startswith("["):
                return f"{start}{kind}/{named}"
        return f"{start}*"

    def once(self, action: str, call: Call, answer: Callable[[], Reply]) -> Reply:
        """Answers a call with a client token: the second time with the first time's reply.

        Raises:
            ApiError: the token came before with other parameters.
        """
        token = call.parameters.get("ClientToken", "")
        if not token:
            return answer()
        if len(token) > 64 or not token.isascii():
            raise ApiError(400, "InvalidClientToken.Malformed", "The ClientToken has more than 64 ASCII characters.")
        others = {name: value for name, value in call.parameters.items() if name != "ClientToken"}
        digest = hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()
        tokens = self.collection(f"{self.name}.client_token")
        key = f"{action}:{token}"
        now = time.time()
        if (known := tokens.get(key)) and now - known["Time"] < TOKEN_LIFETIME:
            if known["Digest"] != digest:
                raise ApiError(
                    400,
                    "IdempotentParameterMismatch",
                    "The request uses the same client token as a previous, but non-identical request.",
                )
            return dict(known["Reply"])
        reply = answer()
        for old, document in tokens.items():
            if now - document["Time"] >= TOKEN_LIFETIME:
                tokens.delete(old)
        tokens.put(key, {"Digest": digest, "Reply": reply, "Time": now})
        return reply


def api(
    name: str,
    *,
    required: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    token: bool = False,
    note: str = "",
) -> Callable[[Handler], Handler]:
    """Marks a method of an `RpcService` as an operation that runs as one transaction of the state.

    The region is checked first. With `token` the operation takes a ``ClientToken``.
    """
    known = (*COMMON, *optional, *(("ClientToken",) if token else ()))
    described = operation(name, required=required, optional=tuple(n for n in known if n not in required), note=note)

    def mark(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def run(service: RpcService, call: Call) -> Reply:
            region = call.parameters.get("RegionId", service.cloud.region)
            if region != service.cloud.region:
                raise ApiError(404, "InvalidRegionId.NotFound", f"The specified region {region} does not exist.")
            with service.cloud.store.transaction():
                if token:
                    return service.once(name, call, lambda: handler(service, call))
                return handler(service, call)

        return described(run)

    return mark


def moment(*, seconds: bool = False) -> str:
    """The time now as ECS writes it (minutes), or with seconds as VPC does."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ" if seconds else "%Y-%m-%dT%H:%MZ")


def tags(call: Call) -> dict[str, str]:
    """The tags of a call, checked.

    Raises:
        ApiError: a key is missing, doubled or reserved, or there are too many.
    """
    found: dict[str, str] = {}
    for member in call.structures("Tag"):
        key, value = member.get("Key", ""), member.get("Value", "")
        if not key or len(key) > 128 or key.startswith(("aliyun", "acs:")) or "://" in key:
            raise ApiError(400, "InvalidTagKey.Malformed", f"The tag key {key!r} is not valid.")
        if len(value) > 128 or value.startswith("acs:") or "://" in value:
            raise ApiError(400, "InvalidTagValue.Malformed", f"The value of the tag {key} is not valid.")
        if key in found:
            raise ApiError(400, "Duplicate.TagKey", f"The tag key {key} is given twice.")
        found[key] = value
    if len(found) > MOST_TAGS:
        raise ApiError(400, "NumberExceed.Tags", f"More than {MOST_TAGS} tags are given.")
    return found


def tagged(document: Document, call: Call) -> bool:
    """Whether a document carries the tags that a call filters by; a missing value stands for any."""
    own = document.get("Tags", {})
    return all(
        member.get("Key", "") in own and member.get("Value", own[member["Key"]]) == own[member["Key"]]
        for member in call.structures("Tag")
    )


def page(found: Sequence[Any], parameters: Mapping[str, str], *, most: int = 100) -> tuple[list[Any], Reply]:
    """One page of `found`, and the fields of the reply that tell which.

    By number (``PageNumber``, ``PageSize``) or by token (``NextToken``, ``MaxResults``).

    Raises:
        ApiError: a number is no number or out of range, or the token is unknown.
    """
    size = integer(parameters, "PageSize", 10, 1, most)
    if "MaxResults" in parameters or parameters.get("NextToken"):
        size = integer(parameters, "MaxResults", size, 1, most)
        start = parameters.get("NextToken") or "0"
        if not start.isdecimal():
            raise ApiError(400, "InvalidParameter.NextToken", "The NextToken was not issued by this operation.")
        end = int(start) + size
        following = str(end) if end < len(found) else ""
        fields = {"TotalCount": len(found), "MaxResults": size, "NextToken": following}
        return list(found[int(start) : end]), fields
    number = integer(parameters, "PageNumber", 1, 1, 10_000_000)
    shown = list(found[(number - 1) * size : number * size])
    return shown, {"TotalCount": len(found), "PageNumber": number, "PageSize": size, "NextToken": ""}


def integer(parameters: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number among the parameters.

    Raises:
        ApiError: it is no number, or out of range.
    """
    text = parameters.get(name, "")
    if not text:
        return default
    if not text.lstrip("-").isdecimal() or not least <= int(text) <= most:
        raise ApiError(400, f"Invalid{name}", f"{name} must be a number from {least} to {most}, not {text!r}.")
    return int(text)


def boolean(parameters: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """A truth value among the parameters; clients write ``true`` and ``True``.

    Raises:
        ApiError: it is something else.
    """
    text = parameters.get(name, "").lower()
    if text not in {"", "true", "false"}:
        raise ApiError(400, f"Invalid{name}", f"{name} must be true or false, not {text!r}.")
    return text == "true" if text else default


def choice(parameters: Mapping[str, str], name: str, allowed: Sequence[str], default: str = "") -> str:
    """One of several words among the parameters; the case is not considered.

    Raises:
        ApiError: it is another word.
    """
    text = parameters.get(name) or default
    for word in allowed:
        if word.lower() == text.lower():
            return word
    if text == default:
        return default
    raise ApiError(
        400,
        f"Invalid{name.replace('.', '')}.ValueNotSupported",
        f"{name} must be one of {', '.join(allowed)}, not {text!r}.",
    )


def json_list(parameters: Mapping[str, str], name: str, *, most: int = 100) -> list[str]:
    """The members of a list that is written as JSON, ``["i-1", "i-2"]``.

    Raises:
        ApiError: it is no such list, or too long.
    """
    text = parameters.get(name, "")
    if not text:
        return []
    try:
        members = json.loads(text)
    except ValueError:
        members = None
    if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
        raise ApiError(400, f"Invalid{name}.Malformed", f"{name} must be a JSON list of strings.")
    if len(members) > most:
        raise ApiError(400, f"Invalid{name}.Exceeded", f"{name} has more than {most} members.")
    return members


def text_field(parameters: Mapping[str, str], name: str, kind: str, *, least: int = 1, most: int = 128) -> str:
    """A name or description: its length, and that it doesn't look like an address.

    Raises:
        ApiError: ``Invalid<kind>.Malformed``.
    """
    text = parameters.get(name, "")
    if text and (not least <= len(text) <= most or text.startswith(("http://", "https://"))):
        raise ApiError(
            400, f"Invalid{kind}.Malformed", f"{name} must have {least} to {most} characters and be no address."
        )
    return text


def pairs(own: Mapping[str, str], key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """Tags as a reply lists them."""
    return [{key: name, value: own[name]} for name in sorted(own)]


def matches(document: Document, wanted: Iterable[tuple[str, str]]) -> bool:
    """Whether every field that a filter names (and isn't empty) has that very value."""
    return all(not value or document.get(name) == value for name, value in wanted)
