"""The id mapping and the batching; the calls are tested against the local cloud's service."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.clients.airec import (
    MAX_DOCUMENTS,
    MAX_REQUEST_BYTES,
    UnmappableIdError,
    add,
    batches,
    from_airec_id,
    size_of,
    to_airec_id,
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("34513", "34513"), ("doc-12", "docZ2d12"), ("Zoë", "Z5aoZc3Zab"), ("a_b", "aZ5fb")],
)
def test_an_id_keeps_what_airec_allows(ours: str, theirs: str) -> None:
    assert to_airec_id(ours) == theirs
    assert from_airec_id(theirs) == ours


@given(st.text(min_size=1, max_size=16).filter(lambda text: text.isprintable()))
def test_ids_come_back_as_they_were(identifier: str) -> None:
    try:
        encoded = to_airec_id(identifier)
    except UnmappableIdError:
        assert len(identifier.encode()) > 16
        return
    assert re.fullmatch("[A-Za-z0-9]{1,50}", encoded)
    assert from_airec_id(encoded) == identifier


@pytest.mark.parametrize("identifier", ["", "x" * 51, "-" * 17])
def test_an_id_without_a_form_is_refused(identifier: str) -> None:
    with pytest.raises(UnmappableIdError, match="allowed are 1 to 50"):
        to_airec_id(identifier)


def test_batches_stay_within_both_limits() -> None:
    commands = [add({"item_id": str(number), "title": "t" * 4000}) for number in range(900)]
    made = list(batches(commands))
    assert sum(map(len, made)) == len(commands)
    assert all(len(batch) <= MAX_DOCUMENTS and size_of(batch) <= MAX_REQUEST_BYTES for batch in made)
    assert len(list(batches([add({"user_id": str(number)}) for number in range(801)]))) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"item_id": "a", "title": "t" * 5001}, "title of a"),
        ({"item_id": "a", "x": "t" * 4000, "y": "t" * 4000, "z": "t" * 4000}, "a document of"),
    ],
)
def test_too_large_documents_are_named(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(batches([add(fields)]))
