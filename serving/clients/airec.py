"""A thin client of AIRec (2020-11-26) over the official SDK's generic call, and the form that our ids take there.

The generated SDK has no request bodies for AIRec's writing operations (its methods would send empty ones), so every
call goes through ``call_api``, which signs and sends whatever it is given.
"""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from alibabacloud_tea_openapi.client import Client as OpenApiClient
from alibabacloud_tea_openapi.utils_models import OpenApiRequest, Params
from darabonba.runtime import RuntimeOptions

from serving.clients.openapi import ApiError, Target, call

Table = Literal["item", "user", "behavior"]
Document = dict[str, Any]

VERSION = "2020-11-26"
MAX_ID_LENGTH = 50  # of an item id, documented
MAX_DOCUMENTS = 800  # in one push
MAX_REQUEST_BYTES = 1_000_000
MAX_DOCUMENT_BYTES = 10_000
MAX_FIELD_BYTES = 5_000
MAX_RETURN_COUNT = 50

_SUCCESS = frozenset({"", "0", "200", "OK", "Success", "success"})
_ESCAPE = "Z"  # rare in ids, and a letter, because AIRec allows nothing but letters and digits
_ESCAPED = re.compile(rb"Z([0-9a-f]{2})")
_PLAIN = frozenset((string.ascii_letters + string.digits).replace(_ESCAPE, "").encode())


class UnmappableIdError(ValueError):
    """An id that has no form within AIRec's limits."""


def to_airec_id(identifier: str) -> str:
    """The id as AIRec takes it: letters and digits stay, every other byte (and ``Z``) becomes ``Zhh``, its hex value.

    Raises:
        UnmappableIdError: the result would be empty or longer than 50 characters.
    """
    encoded = "".join(chr(byte) if byte in _PLAIN else f"{_ESCAPE}{byte:02x}" for byte in identifier.encode())
    if not 1 <= len(encoded) <= MAX_ID_LENGTH:
        raise UnmappableIdError(
            f"the id {identifier!r} takes {len(encoded)} characters in AIRec, allowed are 1 to {MAX_ID_LENGTH}"
        )
    return encoded


def from_airec_id(identifier: str) -> str:
    """The reverse of `to_airec_id`; an id that it can't have made is returned as it is."""
    try:
        return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), identifier.encode()).decode()
    except UnicodeDecodeError:
        return identifier


def add(fields: Document) -> Document:
    """The command that inserts or replaces a document."""
    return {"cmd": "add", "fields": fields}


def delete(fields: Document) -> Document:
    """The command that deletes the document with that key."""
    return {"cmd": "delete", "fields": fields}


def size_of(document: Any) -> int:
    """Bytes of a document as the SDK sends it."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())


def batches(commands: Iterable[Document]) -> Iterator[list[Document]]:
    """Splits commands into requests within AIRec's limits (800 documents, 1 MB).

    Raises:
        ValueError: one document is larger than 10 KB or one of its fields than 5 KB.
    """
    batch: list[Document] = []
    total = 2
    for command in commands:
        _check_size(command)
        size = size_of(command) + 1
        if batch and (len(batch) == MAX_DOCUMENTS or total + size > MAX_REQUEST_BYTES):
            yield batch
            batch, total = [], 2
        batch.append(command)
        total += size
    if batch:
        yield batch


def _check_size(command: Document) -> None:
    if size_of(command) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"a document of {size_of(command)} bytes, AIRec takes {MAX_DOCUMENT_BYTES}: {_key(command)}")
    for name, value in command["fields"].items():
        if len(str(value).encode()) > MAX_FIELD_BYTES:
            raise ValueError(f"{name} of {_key(command)} is larger than the {MAX_FIELD_BYTES} bytes that AIRec takes")


def _key(command: Document) -> str:
    fields = command["fields"]
    return str(fields.get("item_id") or fields.get("user_id") or "a document without id")


@dataclass(frozen=True)
class Recommendation:
    """One item that AIRec recommends. Report `trace_id` and `trace_info` back with behaviours on the item."""

    item_id: str  # ours
    weight: float
    trace_id: str
    trace_info: str
    match_info: str  # which of AIRec's recalls found it
    position: int


class AirecClient:
    """AIRec's operations in use. Every method raises `ApiError`; transient failures were retried then."""

    def __init__(self, target: Target, *, attempts: int = 5, timeout_ms: int | None = None) -> None:
        """Makes a client for the region of `target`.

        Args:
            target: region, protocol and trusted roots.
            attempts: calls at most per operation; 1 where an answer is needed at once.
            timeout_ms: read timeout of one attempt.
        """
        config = target.config(f"airec.{target.region}.aliyuncs.com")
        if timeout_ms is not None:
            config.read_timeout = timeout_ms
            config.connect_timeout = min(timeout_ms, config.connect_timeout)
        self._client = OpenApiClient(config)
        self._attempts = attempts

    def request(
        self,
        action: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        attempts: int | None = None,
    ) -> Any:
        """Calls any operation and returns the ``result`` member of its answer.

        Raises:
            ApiError: refused, or no answer.
        """
        params = Params(
            action=action,
            version=VERSION,
            protocol="HTTPS",
            pathname=f"/v2/openapi/{path}",
            method=method,
            auth_type="AK",
            style="ROA",
            req_body_type="json",
            body_type="json",
        )

        def send() -> Any:
            request = OpenApiRequest(query=dict(query or {}), body=body)
            answer = self._client.call_api(params, request, RuntimeOptions())["body"]
            # Some operations answer 200 with a code that says failure.
            if str(answer.get("code") or "") not in _SUCCESS:
                raise ApiError(action, 400, str(answer["code"]), str(answer.get("message") or "refused"))
            return answer.get("result")

        return call(f"AIRec {action}", send, attempts=attempts or self._attempts)

    def create_instance(self, body: Document) -> str:
        """Buys an instance by subscription and returns its id. Never repeated, since a repetition would buy twice."""
        return str(self.request("CreateInstance", "POST", "instances", body=body, attempts=1)["instanceId"])

    def instances(self) -> list[Document]:
        """Every instance of the account in the region."""
        found: list[Document] = []
        while True:
            page = len(found) // 50 + 1
            rows = self.request("ListInstance", "GET", "instances", query={"page": str(page), "size": "50"}) or []
            found.extend(rows)
            if len(rows) < 50:
                return found

    def instance(self, instance_id: str) -> Document:
        """Describes an instance: ``status``, ``name``, ``industry``, ``expiredTime`` and so on."""
        result = self.request("DescribeInstance", "GET", f"instances/{instance_id}")
        return dict(result)

    def modify_instance(self, instance_id: str, body: Document) -> None:
        """Changes ``name``, and before the instance was started ``industry`` and ``scene``."""
        self.request("ModifyInstance", "PUT", f"instances/{instance_id}", body=body)

    def run_instance(self, instance_id: str) -> None:
        """Starts an instance that is Ready: it imports its data and then serves."""
        self.request("RunInstance", "POST", f"instances/{instance_id}/actions/import", body={})

    def quota(self, instance_id: str) -> Document:
        """How many items and users the instance may hold and holds: ``itemCount``, ``itemCountUsed`` and so on."""
        result = self.request("DescribeQuota", "GET", f"instances/{instance_id}/quota")
        return dict(result)

    def push(self, instance_id: str, table: Table, commands: Sequence[Document]) -> None:
        """Sends one request of at most 800 documents; `batches` makes such requests.

        Items and users are upserts: repeating them does no harm; a behaviour pushed twice counts twice at worst.
        """
        self.request("PushDocument", "POST", f"instances/{instance_id}/tables/{table}/actions/bulk", body=commands)

    def recommend(
        self,
        instance_id: str,
        user_id: str,
        *,
        count: int = 10,
        scene_id: str = "",
        items: Sequence[str] = (),
        item_type: str = "article",
        conditions: Mapping[str, Any] | None = None,
    ) -> list[Recommendation]:
        """Asks for items that suit a user, best first. Ids are ours on both sides.

        Args:
            instance_id: the AIRec instance.
            user_id: any user, known or not.
            count: how many at most; AIRec gives no more than 50.
            scene_id: only items of that scene.
            items: related items of these instead of items for the user alone.
            item_type: the type of `items`.
            conditions: AIRec's filter, ``{"join": "and", "filters": [{"cond", "field", "value"}]}``.
        """
        query = {"userId": to_airec_id(user_id), "returnCount": str(min(count, MAX_RETURN_COUNT))}
        if scene_id:
            query["sceneId"] = scene_id
        if items:
            query["items"] = ",".join(f"{to_airec_id(item)}:{item_type}" for item in items)
        if conditions:
            query["filter"] = base64.urlsafe_b64encode(json.dumps(conditions).encode()).decode()
        rows = self.request("Recommend", "GET", f"instances/{instance_id}/actions/recommend", query=query)
        return [
            Recommendation(
                item_id=from_airec_id(str(row["itemId"])),
                weight=float(row.get("weight") or 0.0),
                trace_id=str(row.get("traceId") or ""),
                trace_info=str(row.get("traceInfo") or ""),
                match_info=str(row.get("matchInfo") or ""),
                position=int(row.get("position") or index),
            )
            for index, row in enumerate(rows or [], start=1)
        ]
