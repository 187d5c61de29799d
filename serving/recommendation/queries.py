"""Bodies of the searches, as OpenSearch reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

CARD = ["item_id", "title", "url", "tags", "created_at"]  # what an answer shows of an item

# A match in the title says more than one in the body; other fields that match add a little.
_FIELDS = ["title^2", "text"]
_TIE_BREAKER = 0.3


def lexical(query: str, excluded: Collection[str]) -> dict[str, Any]:
    """BM25 over title and text."""
    match = {"multi_match": {"query": query, "fields": _FIELDS, "type": "best_fields", "tie_breaker": _TIE_BREAKER}}
    if not excluded:
        return match
    return {"bool": {"must": [match], "must_not": [_ids(excluded)]}}


def nearest(vector: Sequence[float], count: int, excluded: Collection[str]) -> dict[str, Any]:
    """The `count` nearest neighbours of a vector; the excluded are filtered while searching, not after."""
    clause: dict[str, Any] = {"vector": list(vector), "k": count}
    if excluded:
        clause["filter"] = {"bool": {"must_not": [_ids(excluded)]}}
    return {"knn": {"vector": clause}}


def hybrid(query: str, vector: Sequence[float], count: int, excluded: Collection[str]) -> dict[str, Any]:
    """BM25 and k-NN, in the order in which the search pipeline has their weights."""
    return {"hybrid": {"queries": [lexical(query, excluded), nearest(vector, count, excluded)]}}


def body(query: dict[str, Any], count: int) -> dict[str, Any]:
    """A search for `count` cards."""
    return {"query": query, "size": count, "_source": CARD, "track_total_hits": False}


def _ids(values: Collection[str]) -> dict[str, Any]:
    return {"ids": {"values": sorted(values)}}
