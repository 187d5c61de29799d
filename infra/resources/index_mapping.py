"""What the physical indices look like: analysis, mappings, and the digest by which they are named. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KINDS = ("items", "users")
ENGINES = ("lucene", "faiss")
OWNER = "ragrec"

_ANALYSIS: dict[str, Any] = {
    "filter": {
        "english_possessive": {"type": "stemmer", "language": "possessive_english"},
        "english_stop": {"type": "stop", "stopwords": "_english_"},
        "english_stemmer": {"type": "stemmer", "language": "english"},
    },
    "analyzer": {
        "prose": {
            "type": "custom",
            "tokenizer": "standard",
            "filter": ["english_possessive", "lowercase", "asciifolding", "english_stop", "english_stemmer"],
        }
    },
}


def layout(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Settings and mappings of a new index, without what may change in place.

    Args:
        properties: ``kind``, and for items ``dimension`` and ``engine``.
    """
    if properties["kind"] == "users":
        return {"settings": {"index": {"number_of_shards": 1}}, "mappings": _users()}
    return {
        "settings": {"index": {"number_of_shards": 1, "knn": True, "analysis": _ANALYSIS}},
        "mappings": _items(int(properties["dimension"]), properties["engine"]),
    }


def digest(properties: Mapping[str, Any]) -> str:
    """12 hex digits over everything that decides what an index holds: layout, data and, for items, the model."""
    parts = {"layout": layout(properties), "data": properties["data_digest"]}
    if properties["kind"] == "items":
        parts["model"] = [properties["model"], properties["version"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def meta(properties: Mapping[str, Any]) -> dict[str, Any]:
    """What an index says of itself, in ``_meta`` of its mapping."""
    known = {"managed_by": OWNER, "digest": digest(properties), "data": properties["data_digest"]}
    if properties["kind"] == "items":
        known |= {"model": properties["model"], "model_version": properties["version"]}
    return known


def _items(dimension: int, engine: str) -> dict[str, Any]:
    prose = {"type": "text", "analyzer": "prose"}
    return {
        "dynamic": "strict",
        "properties": {
            "item_id": {"type": "keyword"},
            "title": {**prose, "fields": {"exact": {"type": "keyword", "ignore_above": 1000}}},
            "text": prose,
            "url": {"type": "keyword", "index": False, "doc_values": False},
            "tags": {"type": "keyword"},
            "fields": {"type": "flat_object"},
            "created_at": {"type": "date"},
            "vector": {
                "type": "knn_vector",
                "dimension": dimension,
                "method": {
                    "name": "hnsw",
                    "engine": engine,
                    "space_type": "cosinesimil",
                    "parameters": {"m": 16, "ef_construction": 128},
                },
            },
        },
    }


def _users() -> dict[str, Any]:
    return {
        "dynamic": "strict",
        "properties": {
            "user_id": {"type": "keyword"},
            "history": {
                "properties": {
                    "item_id": {"type": "keyword"},
                    "event": {"type": "keyword"},
                    "timestamp": {"type": "date"},
                }
            },
        },
    }
