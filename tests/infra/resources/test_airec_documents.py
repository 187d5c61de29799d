"""Rows of AIRec's tables from our records."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.localcloud.services.airec.tables import BEHAVIOR_TYPES as THEIRS
from infra.localcloud.services.airec.tables import TABLES
from infra.resources.airec_documents import BEHAVIOR_TYPES, behavior, cut, fingerprint, item, user
from model.data.records import Interaction

WHEN = datetime(2024, 5, 1, 12, tzinfo=UTC)


def interaction(event: str, value: float | None = None) -> Interaction:
    return Interaction("user 1", "doc-1", event, WHEN, value=value)


@pytest.mark.parametrize("created", ["2024-05-01T12:00:00Z", "2024-05-01T12:00:00", WHEN.timestamp() * 1000])
def test_an_item_has_what_airec_asks_for(created: object) -> None:
    row = item({"item_id": "doc-1", "title": "Title", "tags": ["a,b", "c"], "created_at": created}, "home")
    assert row == {
        "item_id": "docZ2d1",
        "item_type": "article",
        "status": "1",
        "scene_id": "home",
        "title": "Title",
        "tags": "a b,c",
        "pub_time": str(int(WHEN.timestamp())),
    }
    assert TABLES["item"].check(row) is None
    assert set(item({"item_id": "1"}, "1")) == {"item_id", "item_type", "status", "scene_id"}


def test_a_behaviour_has_what_airec_asks_for() -> None:
    row = behavior(interaction("rate", 4.5), "1")
    assert row["bhv_type"] == "evaluate"
    assert row["bhv_value"] == "4.5"
    assert row["bhv_time"] == str(int(WHEN.timestamp()))
    assert TABLES["behavior"].check(row) is None
    assert not set(TABLES["behavior"].required) - set(row)
    assert user({"user_id": "user 1"}) == {"user_id": row["user_id"]}


def test_every_event_becomes_a_behaviour_that_airec_knows() -> None:
    assert set(BEHAVIOR_TYPES.values()) <= THEIRS
    assert behavior(interaction("View"), "1")["bhv_type"] == "click"
    assert behavior(interaction("unheard of"), "1")["bhv_type"] == "click"


@given(st.text(), st.integers(0, 40))
def test_a_cut_text_fits_and_is_a_beginning(text: str, size: int) -> None:
    assert len(cut(text, size).encode()) <= size
    assert text.startswith(cut(text, size))


def test_a_fingerprint_follows_the_content_only() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
