"""Items and users as OpenSearch holds them."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConflictError, NotFoundError, OpenSearchException, TransportError

from model.data.records import FieldError, parse_time
from serving.recommendation import queries
from serving.recommendation.dependency import Dependency
from serving.recommendation.history import Event, append, read

Vector = npt.NDArray[np.float32]

_REMEMBERED = 20_000  # items; with a vector of 384 dimensions about 2 KB each
_FRESH = 60.0  # seconds for which an item is not read again
_WRITE_ATTEMPTS = 8


@dataclass(frozen=True)
class Card:
    """What an answer shows of an item."""

    item_id: str
    title: str = ""
    url: str | None = None
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """The public part of an item."""
        return {"item_id": self.item_id, "title": self.title, "url": self.url}


@dataclass(frozen=True)
class Item:
    """An item as it was read, at `read` on the monotonic clock; the vector only where one was asked for."""

    card: Card
    vector: Vector | None
    read: float


@dataclass(frozen=True)
class Hit:
    """An item that a search found; the score's scale is the search's own."""

    card: Card
    score: float


class Catalogue:
    """Searches of one items index, and reads and writes of user documents."""

    def __init__(self, client: AsyncOpenSearch, dependency: Dependency, users: str) -> None:
        self._client = client
        self._dependency = dependency
        self._users = users
        self._items: OrderedDict[tuple[str, str], Item] = OrderedDict()  # (index, item id), last used at the end

    async def search(
        self, index: str, query: Mapping[str, Any], count: int, *, pipeline: str | None = None
    ) -> list[Hit]:
        """Runs a query of `queries`.

        Raises:
            DependencyError: OpenSearch did not answer.
        """
        parameters = {"search_pipeline": pipeline} if pipeline else {}
        answer = await self._dependency.call(
            lambda: self._client.search(index=index, body=queries.body(dict(query), count), params=parameters),
            counts=speaks_against,
        )
        return [Hit(card(hit["_id"], hit["_source"]), float(hit["_score"])) for hit in answer["hits"]["hits"]]

    async def items(self, index: str, ids: Collection[str], *, vectors: bool) -> dict[str, Item]:
        """Those of `ids` that are in the index; an item read in the last minute is not read again.

        Raises:
            DependencyError: OpenSearch did not answer.
        """
        found = self.remembered(index, ids)
        now = time.monotonic()
        usable = {
            item_id: item
            for item_id, item in found.items()
            if now - item.read < _FRESH and (item.vector is not None or not vectors)
        }
        lacking = sorted(set(ids) - usable.keys())
        for entry in await self._get(index, lacking, [*queries.CARD, "vector"] if vectors else queries.CARD):
            source = entry["_source"]
            vector = np.asarray(source["vector"], dtype=np.float32) if vectors and "vector" in source else None
            usable[entry["_id"]] = self._items[(index, entry["_id"])] = Item(card(entry["_id"], source), vector, now)
        while len(self._items) > _REMEMBERED:
            self._items.popitem(last=False)
        return usable

    def remembered(self, index: str, ids: Iterable[str]) -> dict[str, Item]:
        """What was read of `ids`, however long ago, for the time when OpenSearch is down."""
        found = {}
        for item_id in ids:
            if known := self._items.get((index, item_id)):
                self._items.move_to_end((index, item_id))
                found[item_id] = known
        return found

    async def history(self, user_id: str) -> list[Event]:
        """A user's events, oldest first; empty for an unknown user.

        Raises:
            DependencyError: OpenSearch did not answer.
        """
        source, _ = await self._user(user_id)
        return read(source.get("history", ()))

    async def record(self, user_id: str, event: Event) -> bool:
        """Adds an event to a user's history, once.

        Concurrent writers are told apart by the document's sequence number; the loser reads again.

        Returns:
            Whether it was new.

        Raises:
            DependencyError: OpenSearch did not answer, or other writers won every time.
        """
        for attempt in range(_WRITE_ATTEMPTS):
            source, condition = await self._user(user_id)
            longer = append(read(source.get("history", ())), event)
            if longer is None:
                return False
            document = {**source, "user_id": user_id, "history": [entry.to_json() for entry in longer]}
            if await self._write(user_id, document, condition, last=attempt == _WRITE_ATTEMPTS - 1):
                return True
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise AssertionError("the last attempt raises")

    async def _write(self, user_id: str, document: dict[str, Any], condition: dict[str, Any], *, last: bool) -> bool:
        async def write() -> bool:
            try:
                await self._client.index(index=self._users, id=user_id, body=document, params=condition)
            except ConflictError:
                if last:
                    raise
                return False
            return True

        return await self._dependency.call(write, counts=speaks_against)

    async def _user(self, user_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The document, and the condition under which it may be replaced."""

        async def read() -> tuple[dict[str, Any], dict[str, Any]]:
            try:
                found = await self._client.get(index=self._users, id=user_id)
            except NotFoundError as error:
                if error.error == "index_not_found_exception":
                    raise
                return {}, {"op_type": "create"}
            return found["_source"], {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}

        return await self._dependency.call(read, counts=speaks_against)

    async def _get(self, index: str, ids: Sequence[str], fields: Sequence[str]) -> list[Any]:
        if not ids:
            return []
        answer = await self._dependency.call(
            lambda: self._client.mget(
                index=index, body={"ids": list(dict.fromkeys(ids))}, params={"_source_includes": ",".join(fields)}
            ),
            counts=speaks_against,
        )
        return [entry for entry in answer["docs"] if entry.get("found")]


def card(item_id: str, source: Mapping[str, Any]) -> Card:
    """Reads an item document."""
    created = source.get("created_at")
    try:
        created_at = None if created is None else parse_time(created, "created_at")
    except FieldError:
        created_at = None
    return Card(
        item_id,
        str(source.get("title") or ""),
        source.get("url") or None,
        tuple(source.get("tags") or ()),
        created_at,
    )


def speaks_against(error: Exception) -> bool:
    """Whether OpenSearch itself is in trouble, and not the request."""
    if not isinstance(error, OpenSearchException) or not isinstance(error, TransportError):
        return True
    status: Any = error.status_code
    return not (isinstance(status, int) and 400 <= status < 500 and status not in {401, 403, 429})
