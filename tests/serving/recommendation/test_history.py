from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from serving.recommendation.history import Event, append, latest, read

START = datetime(2026, 1, 1, tzinfo=UTC)


def event(day: int, item: str = "a", kind: str = "click") -> Event:
    return Event(START + timedelta(days=day), item, kind)


def test_a_document_is_read_oldest_first_and_what_is_unreadable_left_out() -> None:
    entries = [event(2).to_json(), {"item_id": "x"}, {**event(0).to_json(), "timestamp": "soon"}, event(1).to_json()]

    assert read(entries) == [event(1), event(2)]


def test_a_new_event_goes_to_its_place_in_time() -> None:
    assert append([event(0), event(2)], event(1)) == [event(0), event(1), event(2)]


def test_the_same_event_is_kept_once() -> None:
    assert append([event(0)], event(0)) is None
    assert append([event(0)], event(0, kind="view")) == [event(0), event(0, kind="view")]


def test_a_full_history_drops_the_oldest_and_takes_nothing_older() -> None:
    full = [event(1), event(2), event(3)]

    assert append(full, event(4), limit=3) == [event(2), event(3), event(4)]
    assert append(full, event(0), limit=3) is None


def test_the_newest_event_of_each_item_newest_first() -> None:
    events = [event(0, "a"), event(1, "b"), event(2, "a"), event(3, "c")]

    assert latest(events, 2) == [event(3, "c"), event(2, "a")]
    assert latest(events, 9) == [event(3, "c"), event(2, "a"), event(1, "b")]


@given(st.permutations(range(12)), st.integers(1, 12))
def test_the_order_of_arrival_does_not_matter(order: list[int], limit: int) -> None:
    events: list[Event] = []
    for day in order:
        events = append(events, event(day), limit=limit) or events

    assert events == [event(day) for day in range(12)][-limit:]
