"""A user's history: a bounded list of events, newest last, written once each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model.data.records import FieldError, format_time, parse_time

LIMIT = 200  # events that are kept


@dataclass(frozen=True, order=True)
class Event:
    """Something a user did with an item."""

    timestamp: datetime  # UTC
    item_id: str
    event: str

    def to_json(self) -> dict[str, str]:
        """As the user document holds it."""
        return {"item_id": self.item_id, "event": self.event, "timestamp": format_time(self.timestamp)}


def read(entries: Iterable[Mapping[str, Any]]) -> list[Event]:
    """The events of a user document, oldest first; entries that cannot be read are left out."""
    events = []
    for entry in entries:
        try:
            events.append(
                Event(parse_time(entry["timestamp"], "timestamp"), str(entry["item_id"]), str(entry["event"]))
            )
        except (KeyError, FieldError):
            continue
    return sorted(events)


def append(events: Sequence[Event], event: Event, limit: int = LIMIT) -> list[Event] | None:
    """The history with one more event, or None when it is there already or older than all of a full history."""
    if event in events:
        return None
    longer = sorted([*events, event])[-limit:]
    return longer if event in longer else None


def latest(events: Sequence[Event], count: int) -> list[Event]:
    """The newest event of each item, for the `count` items touched last, newest first."""
    found: dict[str, Event] = {}
    for event in reversed(events):
        if event.item_id not in found:
            found[event.item_id] = event
            if len(found) == count:
                break
    return list(found.values())
