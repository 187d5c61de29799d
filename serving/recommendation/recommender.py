"""From a request to ranked items: recalls run side by side, their union is ranked, what is down is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram

from serving.clients.embeddings import Embeddings, EmbeddingsError
from serving.recommendation import history, queries
from serving.recommendation.catalogue import Card, Catalogue, Hit, Item, Vector
from serving.recommendation.dependency import Dependency, DependencyError
from serving.recommendation.ranking import Candidate, Context, Ranked, Scores, best, interests, rank, taste
from serving.recommendation.release import Loaded
from serving.recommendation.settings import Limits

RECALLS = (
    "hybrid",
    "lexical",
    "semantic_recall",
    "item_to_item",
    "collaborative",
    "airec",
    "popularity",
)
"""In the order in which an explanation names them."""

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """What a caller wants."""

    k: int
    user_id: str = ""
    query: str = ""
    item_id: str = ""


@dataclass(frozen=True)
class Answer:
    """Ranked items, and which dependencies were missing."""

    items: Sequence[Ranked]
    degraded: Sequence[str]


class Unavailable(Exception):  # noqa: N818 - a state, not a mistake
    """Nothing could answer."""

    def __init__(self, degraded: Iterable[str]) -> None:
        self.degraded = sorted(degraded)
        super().__init__(f"nothing can answer while these are down: {', '.join(self.degraded)}")


class Outside(Protocol):
    """A recommender outside, such as AIRec."""

    async def recommend(self, user_id: str, count: int) -> list[tuple[str, float]]:
        """Items for a user with weights.

        Raises:
            DependencyError: it did not answer.
        """
        ...


class RecallMetrics:
    """Latency and yield by recall, and how often answers were degraded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.latency = Histogram(
            "ragrec_recall_seconds",
            "Time that a recall took.",
            ["recall"],
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
            registry=registry,
        )
        self.found = Counter("ragrec_recall_items_total", "Items that a recall found.", ["recall"], registry=registry)
        self.degraded = Counter(
            "ragrec_degraded_answers_total", "Answers given without a dependency.", ["dependency"], registry=registry
        )


@dataclass
class _Round:
    """What one request has gathered."""

    missing: set[str] = field(default_factory=set)
    cards: dict[str, Card] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict)  # recall -> item id -> score

    async def attempt(self, work: Awaitable[T]) -> T | None:
        """The result, or None with a note about what is missing."""
        try:
            return await work
        except DependencyError as error:
            self.missing.add(error.name)
            return None

    def add(self, recall: str, scores: Scores) -> None:
        """Takes a recall's items."""
        if scores:
            self.scores[recall] = scores

    def take(self, recall: str, hits: Sequence[Hit], without: set[str]) -> None:
        """Takes a search's items with their cards."""
        kept = [hit for hit in hits if hit.card.item_id not in without]
        self.cards |= {hit.card.item_id: hit.card for hit in kept}
        self.add(recall, {hit.card.item_id: hit.score for hit in kept})

    @property
    def found(self) -> set[str]:
        """Every item that some recall found."""
        return {item_id for scores in self.scores.values() for item_id in scores}


class Recommender:
    """Answers from one release at a time."""

    def __init__(
        self,
        catalogue: Catalogue,
        embeddings: Embeddings,
        endpoint: Dependency,
        outside: Outside | None,
        limits: Limits,
        metrics: RecallMetrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._catalogue = catalogue
        self._embeddings = embeddings
        self._endpoint = endpoint
        self._outside = outside
        self._limits = limits
        self._metrics = metrics
        self._clock = clock

    async def search(self, loaded: Loaded, query: str, k: int) -> tuple[list[Hit], list[str]]:
        """Hybrid search, or BM25 alone while there is no vector.

        Raises:
            Unavailable: OpenSearch is down.
        """
        now = _Round()
        vector = await now.attempt(self._vector(loaded, query))
        hits = await now.attempt(self._retrieve(loaded, query, vector, max(k, self._limits.candidates), ()))
        self._count(now)
        if hits is None:
            raise Unavailable(now.missing)
        return hits[:k], sorted(now.missing)

    async def recommend(self, loaded: Loaded, ask: Ask) -> Answer:
        """Recalls, ranks and returns the best `ask.k` items.

        Raises:
            Unavailable: nothing answered.
        """
        now = _Round()
        index = loaded.release.index
        outside = asyncio.create_task(self._ask_outside(now, ask))
        try:
            events, vector = await asyncio.gather(
                now.attempt(self._history(ask.user_id)), now.attempt(self._vector(loaded, ask.query))
            )
            seen = {event.item_id for event in events or []} | ({ask.item_id} if ask.item_id else set())
            latest = history.latest(events or [], self._limits.history)
            context = Context(latest, self._clock(), self._limits.half_life_days).viewing(ask.item_id)
            read = await now.attempt(
                self._catalogue.items(index, {event.item_id for event in context.events}, vectors=True)
            )
            vectors = {item_id: item.vector for item_id, item in (read or {}).items() if item.vector is not None}
            mean = taste(vectors, context)
            await asyncio.gather(
                self._recall_query(now, loaded, ask, vector, seen),
                self._recall_near(now, loaded, "semantic_recall", mean if latest else None, seen),
                self._recall_near(now, loaded, "item_to_item", vectors.get(ask.item_id), seen),
            )
            related = loaded.collaborative.scores(interests(context)) if context.events else None
            now.add("collaborative", best(related or {}, self._limits.candidates, seen))
            now.add("airec", best(dict(await outside), self._limits.candidates, seen))
        finally:
            outside.cancel()
        if len(now.found) < ask.k:
            wanted = self._limits.candidates + len(seen)
            now.add("popularity", best(dict(loaded.collaborative.popular(wanted)), self._limits.candidates, seen))
        candidates = await self._candidates(now, index, vectors=mean is not None)
        self._count(now)
        if not candidates and now.missing:
            raise Unavailable(now.missing)
        recalls = {name: now.scores[name] for name in RECALLS if name in now.scores}
        ranked = rank(candidates, recalls, loaded, mean=mean, related=related, now=context.now)
        return Answer(ranked[: ask.k], sorted(now.missing))

    async def _history(self, user_id: str) -> list[history.Event]:
        return await self._catalogue.history(user_id) if user_id else []

    async def _vector(self, loaded: Loaded, query: str) -> list[float] | None:
        """The query's vector; none without a query."""
        if not query:
            return None
        release = loaded.release
        answer = await self._endpoint.call(
            lambda: self._embeddings.embed([query], kind="query", model=release.model, attempts=2),
            counts=lambda error: not isinstance(error, EmbeddingsError) or error.transient,
        )
        if answer.version != release.version:
            # Vectors of two models have nothing to do with each other: better none than a wrong one.
            raise DependencyError(
                self._endpoint.name, f"serves version {answer.version}, release {release.id} needs {release.version}"
            )
        return answer.vectors[0]

    async def _retrieve(
        self, loaded: Loaded, query: str, vector: list[float] | None, count: int, excluded: Collection[str]
    ) -> list[Hit]:
        release = loaded.release
        if vector is None:
            with self._metrics.latency.labels("lexical").time():
                return await self._catalogue.search(release.index, queries.lexical(query, excluded), count)
        with self._metrics.latency.labels("hybrid").time():
            return await self._catalogue.search(
                release.index, queries.hybrid(query, vector, count, excluded), count, pipeline=release.pipeline
            )

    async def _recall_query(
        self, now: _Round, loaded: Loaded, ask: Ask, vector: list[float] | None, seen: set[str]
    ) -> None:
        if not ask.query:
            return
        hits = await now.attempt(self._retrieve(loaded, ask.query, vector, self._limits.candidates, seen))
        now.take("lexical" if vector is None else "hybrid", hits or [], seen)

    async def _recall_near(
        self, now: _Round, loaded: Loaded, recall: str, vector: Vector | None, seen: set[str]
    ) -> None:
        if vector is None:
            return
        count = self._limits.candidates
        with self._metrics.latency.labels(recall).time():
            hits = await now.attempt(
                self._catalogue.search(loaded.release.index, queries.nearest(vector.tolist(), count, seen), count)
            )
        now.take(recall, hits or [], seen)

    async def _ask_outside(self, now: _Round, ask: Ask) -> list[tuple[str, float]]:
        if self._outside is None or not ask.user_id:
            return []
        with self._metrics.latency.labels("airec").time():
            return await now.attempt(self._outside.recommend(ask.user_id, self._limits.candidates)) or []

    async def _candidates(self, now: _Round, index: str, *, vectors: bool) -> list[Candidate]:
        """Everything found; items that are not in the index are dropped."""
        ids = now.found
        items = await now.attempt(self._catalogue.items(index, ids, vectors=vectors))
        if items is None:  # OpenSearch is down: what a search has just brought or was read lately, else the bare id
            items = self._catalogue.remembered(index, ids)
            bare = {item_id: now.cards.get(item_id, Card(item_id)) for item_id in ids - items.keys()}
            items |= {item_id: Item(card, None, 0.0) for item_id, card in bare.items()}
        return [Candidate(item.card, item.vector) for _, item in sorted(items.items())]

    def _count(self, now: _Round) -> None:
        for recall, scores in now.scores.items():
            self._metrics.found.labels(recall).inc(len(scores))
        for name in now.missing:
            self._metrics.degraded.labels(name).inc()
