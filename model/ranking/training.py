"""Fits the ranker on what users did next, and measures it on what they did after that."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import optimize

from model.data.corpus import Corpus
from model.data.records import Interaction, Judgment, Query
from model.evaluation.metrics import bootstrap, ndcg, recall
from model.ranking.collaborative import Collaborative
from model.ranking.features import (
    EVENT_WEIGHTS,
    FEATURES,
    HISTORY,
    decay,
    feature_matrix,
    freshness,
    history_vector,
    popularity,
)
from model.ranking.lexical import LexicalIndex, hybrid
from model.ranking.ranker import Ranker, standardise

NEGATIVES = 60
EVENTS = 1_500
"""At most so many events are fitted on, and as many measured on."""
PENALTY = 1e-3
OWN = frozenset(["ask"])
"""Events in which a user makes the item: nothing to recommend, though they tell of the user's taste."""
AIREC = 0.5
"""Weight of AIRec's recall, which isn't in any log, in units of the history's weight."""


@dataclass(frozen=True, slots=True)
class NextItem:
    """A user's interaction with an item new to them, and what was known before it.

    Attributes:
        user_id: Who.
        history: Earlier interactions, oldest first, at most `HISTORY`.
        seen: All items of earlier interactions.
        item_id: The item.
        time: When, in seconds since 1970.
        query: What they had searched for.
        vector: Of the query, when there is one.
    """

    user_id: str
    history: tuple[Interaction, ...]
    seen: frozenset[str]
    item_id: str
    time: float
    query: str | None


@dataclass(frozen=True, slots=True)
class ItemIndex:
    """What stays the same about items at all points in time.

    Attributes:
        corpus: Documents and interactions.
        vectors: Of each document, shape [documents, dimension].
        lexical: BM25 over the documents.
        half_life_days: Of interactions.
    """

    corpus: Corpus
    vectors: npt.NDArray[np.float32]
    lexical: LexicalIndex
    half_life_days: float

    @classmethod
    def build(cls, corpus: Corpus, vectors: npt.NDArray[np.float32], half_life_days: float) -> "ItemIndex":
        """Indexes the words of the documents."""
        return cls(corpus, vectors, LexicalIndex(corpus.texts()), half_life_days)

    def collaborative(self, now: float, *, inclusive: bool = False) -> Collaborative:
        """Neighbours from the interactions before a point in time (or up to it)."""
        events = (
            (i.user_id, i.item_id, i.timestamp.timestamp(), EVENT_WEIGHTS.get(i.event, 1.0))
            for i in self.corpus.interactions
        )
        known = [event for event in events if event[2] < now or (inclusive and event[2] == now)]
        return Collaborative.build(known, now, self.half_life_days)

    def as_of(self, now: float) -> "Catalogue":
        """The items with the signals that were known before a point in time."""
        return Catalogue(self, self.collaborative(now))


class Catalogue:
    """Items with everything that signals are computed from, as of a point in time.

    Attributes:
        items: Item ids, the order of all rows.
        vectors: Of each item, shape [items, dimension].
        rows: Row of each item.
        popularity: The popularity signal of each item.
    """

    def __init__(self, index: ItemIndex, collaborative: Collaborative) -> None:
        documents = index.corpus.documents
        self.items = [document.id for document in documents]
        self.vectors = index.vectors
        self.rows = {item: row for row, item in enumerate(self.items)}
        self._lexical = index.lexical
        self._collaborative = collaborative
        self._half_life = index.half_life_days
        self._created = np.array(
            [document.created_at.timestamp() if document.created_at else np.nan for document in documents]
        )
        counts = dict(zip(collaborative.items, collaborative.counts, strict=True))
        self.popularity = popularity([counts.get(item, 0.0) for item in self.items])

    def candidates(self, event: NextItem) -> npt.NDArray[np.bool_]:
        """Which items could be recommended at the event: not seen by the user, and not younger than the event."""
        # Unknown ages compare false.
        found: npt.NDArray[np.bool_] = ~(self._created > event.time)
        found[[self.rows[item] for item in event.seen if item in self.rows]] = False
        found[self.rows[event.item_id]] = True
        return found

    def features(
        self, event: NextItem, query_vector: npt.NDArray[np.float32] | None, weights: tuple[float, float]
    ) -> npt.NDArray[np.float64]:
        """Signals of every item for one event, shape [items, features]."""
        signals: dict[str, npt.ArrayLike | None] = {
            "popularity": self.popularity,
            "freshness": freshness(self._created, event.time),
        }
        if event.history:
            rows = [self.rows[interaction.item_id] for interaction in event.history]
            times = np.array([interaction.timestamp.timestamp() for interaction in event.history])
            signals["history"] = self.vectors @ history_vector(self.vectors[rows], times, event.time, self._half_life)
            faded = decay(times, float(times[-1]), self._half_life)
            scores = self._collaborative.scores(
                [
                    (interaction.item_id, float(weight) * EVENT_WEIGHTS.get(interaction.event, 1.0))
                    for interaction, weight in zip(event.history, faded, strict=True)
                ]
            )
            signals["collaborative"] = [scores.get(item, 0.0) for item in self.items]
        if event.query and query_vector is not None:
            signals["retrieval"] = hybrid(
                self._lexical.scores(event.query), (self.vectors @ query_vector).astype(np.float64), weights
            )
        return feature_matrix(len(self.items), signals)


def next_items(
    interactions: Sequence[Interaction], start: datetime, end: datetime | None, seed: int
) -> list[NextItem]:
    """At most `EVENTS` interactions of the period with items that are new to their users, and not made by them."""
    histories: dict[str, list[Interaction]] = {}
    for interaction in sorted(interactions, key=lambda i: (i.timestamp, i.user_id, i.item_id)):
        histories.setdefault(interaction.user_id, []).append(interaction)
    found = []
    for user, history in histories.items():
        seen: set[str] = set()
        for place, interaction in enumerate(history):
            time = interaction.timestamp
            recommendable = interaction.item_id not in seen and interaction.event not in OWN
            if recommendable and start <= time and (end is None or time < end):
                past = tuple(history[max(0, place - HISTORY) : place])
                found.append(
                    NextItem(user, past, frozenset(seen), interaction.item_id, time.timestamp(), interaction.query)
                )
            seen.add(interaction.item_id)
    chance = random.Random(seed)
    return found if len(found) <= EVENTS else chance.sample(found, EVENTS)


def judged_items(queries: Sequence[Query], judgments: Sequence[Judgment]) -> list[NextItem]:
    """What judged queries should find, as events of nobody: they tell what a query counts against popularity.

    Args:
        queries: Those of one part of the split; the embedding must not have been trained on them.
        judgments: Of any queries; grades above 0 count.
    """
    texts = {query.id: query.text for query in queries}
    # Judges looked at all documents, also at younger ones; a document of the query's id is its own source.
    return [
        NextItem("", (), frozenset([judgment.query_id]), judgment.item_id, math.inf, texts[judgment.query_id])
        for judgment in judgments
        if judgment.grade > 0 and judgment.query_id in texts
    ]


def fit(
    catalogue: Catalogue,
    events: Sequence[NextItem],
    query_vectors: Mapping[str, npt.NDArray[np.float32]],
    weights: tuple[float, float],
    version: str,
    seed: int,
) -> Ranker:
    """Fits pairwise logistic regression: the item taken against others, drawn evenly.

    Drawing them by popularity would teach the ranker that popularity doesn't matter.

    Weights are not below 0: a signal that speaks against an item on a sample of this size is chance.

    Args:
        catalogue: Signals from before the events.
        events: What to learn.
        query_vectors: By query text.
        weights: Of BM25 and vector in the retrieval signal.
        version: Of the artifact.
        seed: Source of chance.
    """
    chance = np.random.default_rng(seed)
    rows: list[npt.NDArray[np.float64]] = []
    for event in events:
        query_vector = query_vectors.get(event.query) if event.query else None
        features = catalogue.features(event, query_vector, weights)
        drawn = chance.integers(0, len(catalogue.items), NEGATIVES)
        target = catalogue.rows[event.item_id]
        drawn = drawn[catalogue.candidates(event)[drawn] & (drawn != target)]
        if len(drawn):
            rows.append(features[np.concatenate([[target], drawn])])
    means, scales = standardise(rows)
    standard = [np.nan_to_num((found - means) / scales, nan=0.0) for found in rows]
    differences = (
        np.concatenate([found[0] - found[1:] for found in standard]) if standard else np.zeros((0, len(FEATURES)))
    )

    def loss(given: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        margins = differences @ given
        # log(1 + exp(-m)) and its slope, without overflow.
        value = np.logaddexp(0.0, -margins).mean() + PENALTY * given @ given
        slope = -1.0 / (1.0 + np.exp(np.clip(margins, -500, 500)))
        return float(value), (differences.T @ slope) / len(differences) + 2 * PENALTY * given

    if len(differences):
        start = np.full(len(FEATURES), 0.1)
        result: Any = optimize.minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 20.0)] * len(FEATURES)
        )
        learnt = np.asarray(result.x, dtype=np.float64)
    else:
        learnt = np.ones(len(FEATURES))
    # What the log never shows has no standard.
    there = np.zeros(len(FEATURES), dtype=bool)
    for found in rows:
        there |= ~np.isnan(found).all(axis=0)
    weights_by_name, raw = (dict(zip(FEATURES, found.tolist(), strict=True)) for found in (learnt, learnt / scales))
    for column, name in enumerate(FEATURES):
        if not there[column]:
            learnt[column] = _unseen(name, weights_by_name, raw)
    return Ranker(FEATURES, learnt, means, scales, version)


def _unseen(name: str, weights: Mapping[str, float], raw: Mapping[str, float]) -> float:
    """The weight of a signal that no event has: it is taken on its own scale of [0, 1].

    Args:
        name: The signal.
        weights: Of the others, standardised.
        raw: The same on the signals' own scales.
    """
    history = max(weights["history"], 0.1)
    if name == "airec":
        return AIREC * history
    if name == "retrieval":
        # Who asks says what they want: that outweighs all that is known without asking.
        return max(history, raw["popularity"] + raw["freshness"])
    return history


Measured: TypeAlias = dict[str, dict[str, npt.NDArray[np.float64]]]
"""By system and metric, one value for each event."""


def measure(catalogue: Catalogue, ranker: Ranker, events: Sequence[NextItem]) -> Measured:
    """nDCG@10 and hit rate at 10 of the next item among all items new to the user, for the ranker and for popularity.

    Queries aren't used: this measures recommendation, not search.
    """
    values: dict[str, dict[str, list[float]]] = {
        name: {"ndcg@10": [], "hit_rate@10": []} for name in ("ranker", "popularity")
    }
    for event in events:
        features = catalogue.features(event, None, (0.5, 0.5))
        systems = {"ranker": ranker.score(features), "popularity": catalogue.popularity.copy()}
        grades = {event.item_id: 1}
        candidates = catalogue.candidates(event)
        for name, scores in systems.items():
            scores[~candidates] = -np.inf
            best = np.argsort(-scores, kind="stable")[:10]
            ranking = [catalogue.items[row] for row in best]
            values[name]["ndcg@10"].append(ndcg(ranking, grades, 10))
            values[name]["hit_rate@10"].append(recall(ranking, grades, 10))
    return {name: {metric: np.array(found) for metric, found in by.items()} for name, by in values.items()}


def summarise(measured: Measured, seed: int) -> dict[str, Any]:
    """Means by system, and the paired interval of the ranker's gain in nDCG@10 over popularity."""
    events = len(measured["ranker"]["ndcg@10"])
    if not events:
        return {"events": 0}
    low, high = bootstrap(measured["ranker"]["ndcg@10"] - measured["popularity"]["ndcg@10"], seed)
    means = {name: {metric: float(found.mean()) for metric, found in by.items()} for name, by in measured.items()}
    return {**means, "gain": {"low": low, "high": high}, "events": events}
