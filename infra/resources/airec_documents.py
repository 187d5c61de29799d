"""What our items, users and interactions are in AIRec's tables of the content industry. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from model.data.records import Interaction
from serving.clients.airec import Document, to_airec_id

ITEM_TYPE = "article"
SELF_HELD = "selfhold"  # AIRec's word for behaviour on what AIRec didn't recommend
MAX_TITLE_BYTES = 500
MAX_TAGS_BYTES = 500

BEHAVIOR_TYPES = {
    "expose": "expose", "impression": "expose",
    "click": "click", "view": "click", "open": "click", "ask": "click", "read": "read", "play": "play",
    "stay": "stay", "dwell": "stay",
    "like": "like", "upvote": "like", "dislike": "dislike", "downvote": "dislike", "unlike": "unlike",
    "rate": "evaluate", "review": "evaluate", "evaluate": "evaluate",
    "comment": "comment", "answer": "comment",
    "bookmark": "collect", "favorite": "collect", "collect": "collect", "save": "collect", "tag": "collect",
    "share": "share", "download": "download", "follow": "follow", "subscribe": "subscribe", "tip": "tip",
    "cart": "cart", "buy": "buy", "purchase": "buy", "order": "buy",
}  # fmt: skip
"""AIRec's behaviour by our event; events that aren't here count as clicks."""


def item_key(item_id: str) -> Document:
    """The fields that identify an item.

    Raises:
        UnmappableIdError: the id has no form in AIRec.
    """
    return {"item_id": to_airec_id(item_id), "item_type": ITEM_TYPE}


def item(source: Mapping[str, Any], scene_id: str) -> Document:
    """A row of the item table from a document of the index ``items``.

    Raises:
        UnmappableIdError: the id has no form in AIRec.
    """
    fields = {
        **item_key(str(source["item_id"])),
        "status": "1",
        "scene_id": scene_id,
        "title": cut(str(source.get("title") or ""), MAX_TITLE_BYTES),
        "tags": cut(",".join(str(tag).replace(",", " ") for tag in source.get("tags") or ()), MAX_TAGS_BYTES),
    }
    if source.get("created_at"):
        fields["pub_time"] = str(_seconds(source["created_at"]))
    return {name: value for name, value in fields.items() if value != ""}


def user(source: Mapping[str, Any]) -> Document:
    """A row of the user table from a document of the index ``users``.

    Raises:
        UnmappableIdError: the id has no form in AIRec.
    """
    return user_key(str(source["user_id"]))


def user_key(user_id: str) -> Document:
    """The field that identifies a user.

    Raises:
        UnmappableIdError: the id has no form in AIRec.
    """
    return {"user_id": to_airec_id(user_id)}


def behavior(interaction: Interaction, scene_id: str) -> Document:
    """A row of the behaviour table.

    Raises:
        UnmappableIdError: one of the ids has no form in AIRec.
    """
    fields = {
        **item_key(interaction.item_id),
        "user_id": to_airec_id(interaction.user_id),
        "bhv_type": BEHAVIOR_TYPES.get(interaction.event.lower(), "click"),
        "bhv_time": f"{int(interaction.timestamp.timestamp()):010d}",
        "scene_id": scene_id,
        "trace_id": SELF_HELD,
    }
    if interaction.value is not None:
        fields["bhv_value"] = f"{interaction.value:g}"
    return fields


def fingerprint(fields: Mapping[str, Any]) -> str:
    """16 hex digits that tell whether a row has changed."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def cut(text: str, size: int) -> str:
    """The start of a text that fits into `size` bytes of UTF-8, without half a character at its end."""
    return text.encode()[:size].decode(errors="ignore")


def _seconds(moment: Any) -> int:
    """Seconds since 1970 of what a date field of the index holds: ISO 8601 or milliseconds."""
    if isinstance(moment, int | float):
        return int(moment / 1000)
    parsed = datetime.fromisoformat(str(moment))
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
