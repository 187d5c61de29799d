"""A stand-in for OpenSearch over HTTP: the searches that the service sends, over documents in memory.

Term overlap stands for BM25 and brute force for k-NN; what OpenSearch really does is tested with a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PHYSICAL = "items-000000000001"


class Search:
    """One items index, one users index, one pipeline; tests change the attributes while it runs."""

    def __init__(self, items: Mapping[str, dict[str, Any]], dimension: int) -> None:
        self._given = {item_id: {"item_id": item_id, **item} for item_id, item in items.items()}
        self._dimension = dimension
        self.reset()

    def reset(self) -> None:
        """As at the start."""
        self.items = dict(self._given)
        self.users: dict[str, tuple[int, dict[str, Any]]] = {}  # sequence number and document
        self.sequence = 0
        self.dimension = self._dimension
        self.meta: dict[str, Any] = {}
        self.pipeline: dict[str, Any] = {"phase_results_processors": [{"normalization-processor": {}}]}
        self.status = 200
        self.delay = 0.0  # seconds
        self.conflicts = 0  # writes that another writer overtakes
        self.searches: list[dict[str, Any]] = []

    def app(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[
                Route("/_search/pipeline/{name}", self._pipeline),
                Route("/{index}/_mapping", self._mapping),
                Route("/{index}/_search", self._search, methods=["POST"]),
                Route("/{index}/_mget", self._mget, methods=["POST"]),
                Route("/{index}/_doc/{id:path}", self._get, methods=["GET"]),
                Route("/{index}/_doc/{id:path}", self._put, methods=["PUT"]),
                Route("/{index}/_create/{id:path}", self._create, methods=["PUT"]),
            ]
        )

    async def _trouble(self) -> Response | None:
        await asyncio.sleep(self.delay)
        return None if self.status == 200 else _error(self.status, "trouble", "as the test wants it")

    async def _pipeline(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != "ragrec-hybrid":
            return JSONResponse({}, 404)
        return await self._trouble() or JSONResponse({name: self.pipeline})

    async def _mapping(self, request: Request) -> Response:
        index = request.path_params["index"]
        if index not in {"items", PHYSICAL}:
            return _error(404, "index_not_found_exception", f"no such index [{index}]")
        properties = {"vector": {"type": "knn_vector", "dimension": self.dimension}}
        mappings = {"_meta": self.meta, "properties": properties}
        return await self._trouble() or JSONResponse({PHYSICAL: {"mappings": mappings}})

    async def _search(self, request: Request) -> Response:
        body = await request.json()
        self.searches.append({**body, "parameters": dict(request.query_params)})
        if trouble := await self._trouble():
            return trouble
        scores = self._scores(body["query"])
        best = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[: body["size"]]
        hits = [
            {"_id": item_id, "_score": score, "_source": _source(self.items[item_id], body["_source"])}
            for item_id, score in best
        ]
        return JSONResponse({"hits": {"hits": hits}})

    def _scores(self, query: dict[str, Any]) -> dict[str, float]:
        ((kind, clause),) = query.items()
        if kind == "hybrid":
            lexical, nearest = (_normalised(self._scores(part)) for part in clause["queries"])
            return {i: 0.3 * lexical.get(i, 0.0) + 0.7 * nearest.get(i, 0.0) for i in lexical | nearest}
        if kind == "bool":
            excluded = set(clause["must_not"][0]["ids"]["values"])
            return {i: s for i, s in self._scores(clause["must"][0]).items() if i not in excluded}
        if kind == "multi_match":
            words = set(clause["query"].lower().split())
            counts = {i: len(words & set(f"{d['title']} {d['text']}".lower().split())) for i, d in self.items.items()}
            return {item_id: float(count) for item_id, count in counts.items() if count}
        assert kind == "knn"
        wanted = clause["vector"]
        excluded = set()
        if "filter" in wanted:
            excluded = set(wanted["filter"]["bool"]["must_not"][0]["ids"]["values"])
        scores = {
            item_id: (1 + _cosine(wanted["vector"], item["vector"])) / 2
            for item_id, item in self.items.items()
            if item_id not in excluded
        }
        return dict(sorted(scores.items(), key=lambda entry: -entry[1])[: wanted["k"]])

    async def _mget(self, request: Request) -> Response:
        if trouble := await self._trouble():
            return trouble
        wanted = request.query_params["_source_includes"].split(",")
        docs = []
        for item_id in (await request.json())["ids"]:
            found = item_id in self.items
            docs.append({"_id": item_id, "found": found})
            if found:
                docs[-1]["_source"] = _source(self.items[item_id], wanted)
        return JSONResponse({"docs": docs})

    async def _get(self, request: Request) -> Response:
        if trouble := await self._trouble():
            return trouble
        user_id = request.path_params["id"]
        if user_id not in self.users:
            return JSONResponse({"_id": user_id, "found": False}, 404)
        sequence, document = self.users[user_id]
        return JSONResponse({"_id": user_id, "_seq_no": sequence, "_primary_term": 1, "_source": document})

    async def _put(self, request: Request) -> Response:
        if request.query_params.get("op_type") == "create":
            return await self._create(request)
        user_id, document = request.path_params["id"], await request.json()
        if trouble := await self._trouble():
            return trouble
        sequence, _ = self.users[user_id]
        if self._overtaken() or request.query_params["if_seq_no"] != str(sequence):
            return _error(409, "version_conflict_engine_exception", "another writer was first")
        return self._store(user_id, document)

    async def _create(self, request: Request) -> Response:
        user_id, document = request.path_params["id"], await request.json()
        if trouble := await self._trouble():
            return trouble
        if self._overtaken() or user_id in self.users:
            return _error(409, "version_conflict_engine_exception", "document already exists")
        return self._store(user_id, document)

    def _overtaken(self) -> bool:
        self.conflicts -= 1
        return self.conflicts >= 0

    def _store(self, user_id: str, document: dict[str, Any]) -> Response:
        self.sequence += 1
        self.users[user_id] = (self.sequence, document)
        return JSONResponse({"result": "updated"})


def _error(status: int, kind: str, reason: str) -> Response:
    return JSONResponse({"error": {"type": kind, "reason": reason}, "status": status}, status)


def _source(item: Mapping[str, Any], wanted: list[str]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name in wanted}


def _cosine(one: list[float], other: list[float]) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def _normalised(scores: dict[str, float]) -> dict[str, float]:
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=1.0)
    return {item_id: (score - low) / (high - low or 1.0) or 0.001 for item_id, score in scores.items()}
