"""The four record kinds of the data contract, their canonical JSON form, and how a parsed object becomes one."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_ID = 512
"""Longest id in bytes: the limit of OpenSearch's `_id`."""
MAX_TITLE = 1_000
MAX_TEXT = 50_000
"""Longer titles and texts are cut here, with a warning; no encoder reads further and every copy costs."""
MAX_QUERY = 5_000
# 1e11 seconds is the year 5138, while in milliseconds it is 1973: a larger number can only be milliseconds.
MAX_EPOCH = 1e11


class FieldError(ValueError):
    """A field of a record is missing or malformed."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"field '{name}': {reason}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Document:
    """An item that can be found and recommended.

    Attributes:
        id: Unique in the data set.
        title: May be empty.
        text: Never empty.
        url: Where a person can open it.
        tags: Labels, in the order given.
        fields: Anything else, as JSON; readers put links between documents here (`accepted_answer_id`).
        created_at: When it came into being, in UTC; None when unknown.
    """

    id: str
    title: str
    text: str
    url: str | None = None
    tags: tuple[str, ...] = ()
    fields: Mapping[str, Json] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Interaction:
    """Something a user did with an item.

    Attributes:
        user_id: Who.
        item_id: A document's id.
        event: What: `click`, `view`, `rate`, ...
        timestamp: When, in UTC.
        query: What the user had searched for, when the interaction came from a search.
        value: A rating or quantity, when the event has one.
    """

    user_id: str
    item_id: str
    event: str
    timestamp: datetime
    query: str | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A search that has judgments.

    Attributes:
        id: Unique among queries. By the convention of BEIR, a document with the same id is the query's own source
            and no answer to it.
        text: What was asked.
        created_at: When, in UTC; None when unknown.
        tags: Slices that evaluation reports apart (`domain`, `plain`, `split:test`).
    """

    id: str
    text: str
    created_at: datetime | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgment:
    """How well an item answers a query: grade 0 is irrelevant, higher is better."""

    query_id: str
    item_id: str
    grade: int


Record: TypeAlias = Document | Interaction | Query | Judgment


def parse_time(value: object, name: str) -> datetime:
    """Reads a point in time: ISO 8601 with a zone, or seconds since 1970.

    Raises:
        FieldError: Anything else, with the reason.
    """
    number: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            pass
    if number is not None:
        if not math.isfinite(number):
            raise FieldError(name, f"{value!r} is not a point in time")
        if number < 0:
            raise FieldError(name, f"{value!r} is before 1970")
        if number > MAX_EPOCH:
            raise FieldError(name, f"{value!r} is too large for seconds since 1970 (milliseconds?)")
        return datetime.fromtimestamp(number, UTC)
    if not isinstance(value, str):
        raise FieldError(name, f"expected ISO 8601 with a zone or seconds since 1970, got {_kind(value)}")
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise FieldError(name, f"{value[:40]!r} is neither ISO 8601 nor seconds since 1970") from None
    if time.tzinfo is None:
        raise FieldError(name, f"{value[:40]!r} has no zone (append Z for UTC)")
    return time.astimezone(UTC)


def format_time(time: datetime) -> str:
    """Writes a point in time in the canonical form: UTC, `Z`, fractions only when there are any."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_document(record: Mapping[str, object]) -> tuple[Document, list[str]]:
    """Turns a parsed line of `documents.jsonl` into a document.

    Returns:
        The document and warnings: what was cut or ignored.

    Raises:
        FieldError: A field is missing or malformed.
    """
    warnings = _unknown(record, {"id", "title", "text", "url", "tags", "fields", "created_at"})
    title = _text(record, "title", MAX_TITLE, warnings, empty=True)
    text = _text(record, "text", MAX_TEXT, warnings)
    fields = record.get("fields")
    if fields is not None and not isinstance(fields, dict):
        raise FieldError("fields", f"expected an object, got {_kind(fields)}")
    return Document(
        id=_id(record, "id"),
        title=title,
        text=text,
        url=_optional_string(record, "url"),
        tags=_tags(record),
        fields=fields or {},
        created_at=_optional_time(record, "created_at"),
    ), warnings


def parse_interaction(record: Mapping[str, object]) -> tuple[Interaction, list[str]]:
    """Turns a parsed line of `interactions.jsonl` into an interaction; see `parse_document`."""
    warnings = _unknown(record, {"user_id", "item_id", "event", "timestamp", "query", "value"})
    if "timestamp" not in record:
        raise FieldError("timestamp", "is missing")
    query = _optional_string(record, "query")
    if query is not None and len(query) > MAX_QUERY:
        warnings.append(f"field 'query' cut to {MAX_QUERY:,} characters")
        query = query[:MAX_QUERY]
    value = record.get("value")
    if value is not None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise FieldError("value", f"expected a finite number, got {value!r}")
        value = float(value)
    return Interaction(
        user_id=_id(record, "user_id"),
        item_id=_id(record, "item_id"),
        event=_id(record, "event"),
        timestamp=parse_time(record["timestamp"], "timestamp"),
        query=query.strip() or None if query else None,
        value=value,
    ), warnings


def parse_query(record: Mapping[str, object]) -> tuple[Query, list[str]]:
    """Turns a parsed line of `queries.jsonl` into a query; see `parse_document`."""
    warnings = _unknown(record, {"id", "text", "created_at", "tags"})
    return Query(
        id=_id(record, "id"),
        text=_text(record, "text", MAX_QUERY, warnings),
        created_at=_optional_time(record, "created_at"),
        tags=_tags(record),
    ), warnings


def parse_judgment(line: str) -> Judgment:
    """Turns a line of `judgments.tsv` (query id, item id, grade) into a judgment.

    Raises:
        FieldError: Not three columns, an empty id, or a grade that is no whole number of at least 0.
    """
    columns = line.rstrip("\r\n").split("\t")
    if len(columns) != 3:
        raise FieldError("line", f"expected 3 tab-separated columns (query id, item id, grade), got {len(columns)}")
    query_id, item_id, grade = (column.strip() for column in columns)
    if not query_id:
        raise FieldError("query id", "is empty")
    if not item_id:
        raise FieldError("item id", "is empty")
    if not grade.isdecimal():
        raise FieldError("grade", f"{grade[:40]!r} is no whole number of at least 0")
    return Judgment(query_id, item_id, int(grade))


def to_line(record: Record) -> str:
    """The canonical line of a record, without line feed: fixed key order, nothing that is absent or empty."""
    if isinstance(record, Judgment):
        return f"{record.query_id}\t{record.item_id}\t{record.grade}"
    return json.dumps(to_json(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def to_json(record: Document | Interaction | Query) -> dict[str, Json]:
    """The canonical JSON object of a record (see `to_line`)."""
    found: dict[str, Json]
    if isinstance(record, Document):
        found = {"id": record.id, "title": record.title, "text": record.text}
        if record.url:
            found["url"] = record.url
        if record.tags:
            found["tags"] = list(record.tags)
        if record.fields:
            found["fields"] = {name: record.fields[name] for name in sorted(record.fields)}
        if record.created_at:
            found["created_at"] = format_time(record.created_at)
        return found
    if isinstance(record, Interaction):
        found = {
            "user_id": record.user_id,
            "item_id": record.item_id,
            "event": record.event,
            "timestamp": format_time(record.timestamp),
        }
        if record.query:
            found["query"] = record.query
        if record.value is not None:
            found["value"] = record.value
        return found
    found = {"id": record.id, "text": record.text}
    if record.created_at:
        found["created_at"] = format_time(record.created_at)
    if record.tags:
        found["tags"] = list(record.tags)
    return found


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value), "an array" if isinstance(value, list) else "an object")


def _unknown(record: Mapping[str, object], known: set[str]) -> list[str]:
    return [f"unknown field '{name}' ignored" for name in record if name not in known]


def _id(record: Mapping[str, object], name: str) -> str:
    if name not in record:
        raise FieldError(name, "is missing")
    value = record[name]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise FieldError(name, f"expected a string, got {_kind(value)}")
    if not value.strip():
        raise FieldError(name, "is empty")
    if value != value.strip() or any(ord(character) < 32 for character in value):
        raise FieldError(name, f"{value[:40]!r} has spaces around it or control characters in it")
    if len(value.encode()) > MAX_ID:
        raise FieldError(name, f"is longer than {MAX_ID} bytes")
    return value


def _text(record: Mapping[str, object], name: str, limit: int, warnings: list[str], *, empty: bool = False) -> str:
    value = record.get(name)
    if value is None:
        if empty:
            return ""
        raise FieldError(name, "is missing")
    if not isinstance(value, str):
        raise FieldError(name, f"expected a string, got {_kind(value)}")
    value = value.strip()
    if not value and not empty:
        raise FieldError(name, "is empty")
    if len(value) > limit:
        warnings.append(f"field '{name}' cut to {limit:,} characters")
        value = value[:limit].rstrip()
    return value


def _optional_string(record: Mapping[str, object], name: str) -> str | None:
    value = record.get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise FieldError(name, f"expected a string, got {_kind(value)}")


def _optional_time(record: Mapping[str, object], name: str) -> datetime | None:
    value = record.get(name)
    return None if value is None else parse_time(value, name)


def _tags(record: Mapping[str, object]) -> tuple[str, ...]:
    value = record.get("tags")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tag, str) and tag for tag in value):
        raise FieldError("tags", "expected an array of non-empty strings")
    return tuple(str(tag) for tag in value)
