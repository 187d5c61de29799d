"""The three tables of the content industry, and what PushDocument takes for each of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.localcloud.service import ApiError

Fields = dict[str, Any]

MAX_DOCUMENTS = 800
MAX_REQUEST_BYTES = 1_000_000
MAX_DOCUMENT_BYTES = 10_000
MAX_FIELD_BYTES = 5_000

ITEM_TYPES = frozenset({"image", "article", "video", "shortvideo", "item", "recipe", "audio"})
BEHAVIOR_TYPES = frozenset(
    {
        "expose", "click", "like", "unlike", "comment", "collect", "uncollect", "stay", "share", "download", "tip",
        "subscribe", "follow", "dislike", "buy", "cart", "evaluate", "play", "read",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table's fields. `key` names the fields that identify a document; behaviours have no key."""

    name: str
    key: tuple[str, ...]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    check: Callable[[Fields], str | None]

    def identify(self, fields: Fields) -> str:
        """The document's key; for behaviours a digest of everything, so that a repeated push changes nothing."""
        if self.key:
            return "\n".join(str(fields.get(name, "")) for name in self.key)
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]


def _check_item(fields: Fields) -> str | None:
    if not re.fullmatch(r"[A-Za-z0-9]{1,50}", str(fields["item_id"])):
        return "item_id has to be 1 to 50 letters and digits"
    if fields["item_type"] not in ITEM_TYPES:
        return f"item_type has to be one of {', '.join(sorted(ITEM_TYPES))}"
    if str(fields.get("status", "1")) not in ("0", "1"):
        return "status has to be 0 or 1"
    return _check_scene(fields)


def _check_user(fields: Fields) -> str | None:
    if not (fields.get("user_id") or fields.get("imei")):
        return "user_id or imei is required"
    return None


def _check_behavior(fields: Fields) -> str | None:
    if fields["bhv_type"] not in BEHAVIOR_TYPES:
        return f"bhv_type has to be one of {', '.join(sorted(BEHAVIOR_TYPES))}"
    if not re.fullmatch(r"\d{10}", str(fields["bhv_time"])):
        return "bhv_time has to be a time in seconds, ten digits"
    return _check_user(fields) or _check_scene(fields)


def _check_scene(fields: Fields) -> str | None:
    scene = str(fields.get("scene_id", "1"))
    if not scene or ":" in scene or "-102" in scene.split(","):
        return "scene_id has to be ids separated by commas, without colons, and not -102"
    return None


TABLES = {
    table.name: table
    for table in (
        Table(
            "item",
            key=("item_id", "item_type"),
            required=("item_id", "item_type", "status", "scene_id"),
            optional=(
                "title", "content", "duration", "pub_time", "expire_time", "last_modify_time", "weight",
                "category_level", "category_path", "tags", "channel", "organization", "author", "country", "city",
                "features", "num_features", "pv_cnt", "click_cnt", "like_cnt", "unlike_cnt", "comment_cnt",
                "collect_cnt", "share_cnt", "download_cnt",
            ),
            check=_check_item,
        ),
        Table(
            "user",
            key=("user_id", "imei"),
            required=(),
            optional=(
                "user_id", "imei", "user_id_type", "third_user_name", "phone_md5", "gender", "age", "age_group",
                "country", "city", "ip", "device_model", "register_time", "last_login_time", "last_modify_time",
                "tags", "source", "features", "num_features",
            ),
            check=_check_user,
        ),
        Table(
            "behavior",
            key=(),
            required=("item_id", "item_type", "bhv_type", "trace_id", "scene_id", "bhv_time"),
            optional=(
                "trace_info", "bhv_value", "user_id", "imei", "platform", "app_version", "net_type", "ip", "login",
                "report_src", "device_model", "longitude", "latitude", "module_id", "page_id", "position",
                "message_id",
            ),
            check=_check_behavior,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Command:
    """One verified element of a push."""

    verb: str  # add, update, delete
    fields: Fields


def parse_push(table_name: str, body: bytes) -> list[Command]:
    """Reads and checks the body of PushDocument: a bare array of commands, within every documented limit.

    Raises:
        ApiError: 400 or 404, naming the element and the field.
    """
    table = TABLES.get(table_name)
    if table is None:
        raise ApiError(404, "TableNotExist", f"There is no table {table_name}: {', '.join(TABLES)}.")
    if len(body) > MAX_REQUEST_BYTES:
        message = f"The request has {len(body)} bytes, allowed are {MAX_REQUEST_BYTES}."
        raise ApiError(400, "RequestTooLarge", message)
    try:
        elements = json.loads(body)
    except ValueError:
        raise ApiError(400, "InvalidParameter", "The request body is not JSON.") from None
    if not isinstance(elements, list) or not elements:
        raise ApiError(400, "InvalidParameter", "The request body has to be a list of documents.")
    if len(elements) > MAX_DOCUMENTS:
        message = f"{len(elements)} documents in one request, allowed are {MAX_DOCUMENTS}."
        raise ApiError(400, "TooManyDocuments", message)
    return [_command(table, index, element) for index, element in enumerate(elements)]


def _command(table: Table, index: int, element: Any) -> Command:
    def refuse(reason: str) -> ApiError:
        return ApiError(400, "InvalidDocument", f"Document {index} of the table {table.name}: {reason}.")

    if not isinstance(element, dict) or set(element) != {"cmd", "fields"} or not isinstance(element["fields"], dict):
        raise refuse('it has to be {"cmd": ..., "fields": {...}}')
    verb, fields = element["cmd"], element["fields"]
    if verb not in ("add", "update", "delete"):
        raise refuse("cmd has to be add, update or delete")
    if verb != "add" and not table.key:
        raise refuse(f"{verb} is not possible, behaviours can't be changed")
    unknown = sorted(set(fields) - set(table.required) - set(table.optional))
    if unknown:
        raise refuse(f"the field {unknown[0]} is not one of the table")
    needed = table.required if verb == "add" else table.key
    missing = [name for name in needed if fields.get(name) in (None, "") and table.name != "user"]
    if missing:
        raise refuse(f"{missing[0]} is required")
    if len(json.dumps(element, ensure_ascii=False).encode()) > MAX_DOCUMENT_BYTES:
        raise refuse(f"it is larger than {MAX_DOCUMENT_BYTES} bytes")
    for name, value in fields.items():
        if len(str(value).encode()) > MAX_FIELD_BYTES:
            raise refuse(f"{name} is larger than {MAX_FIELD_BYTES} bytes")
    if reason := table.check(fields):
        raise refuse(reason)
    return Command(verb, fields)
