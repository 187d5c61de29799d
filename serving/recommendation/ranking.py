"""From what recalls found to a ranked list: signals, the release's linear ranker, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from model.ranking.features import EVENT_WEIGHTS, FEATURES, decay, feature_matrix, freshness, history_vector, min_max
from serving.recommendation.catalogue import Card, Vector
from serving.recommendation.history import Event
from serving.recommendation.release import Loaded

Scores = Mapping[str, float]  # item id -> score on a recall's own scale
Signal = npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class Context:
    """What is known about the taste that an answer should meet."""

    events: Sequence[Event]  # the newest of each item, newest first
    now: datetime
    half_life_days: float

    def viewing(self, item_id: str) -> Context:
        """The context when somebody looks at an item: as if that were the latest event."""
        if not item_id:
            return self
        others = [event for event in self.events if event.item_id != item_id]
        return replace(self, events=[Event(self.now, item_id, "view"), *others])


@dataclass(frozen=True)
class Candidate:
    """An item that at least one recall found."""

    card: Card
    vector: Vector | None


@dataclass(frozen=True)
class Ranked:
    """An item with its score and the reasons."""

    card: Card
    score: float
    recalls: Scores
    signals: Mapping[
        str, tuple[float | None, float]
    ]  # value, None where it is missing, and what it adds to the score

    def to_json(self, *, explain: bool) -> dict[str, Any]:
        """As an answer shows it."""
        shown = {**self.card.to_json(), "score": round(self.score, 6)}
        if explain:
            shown["explain"] = {
                "recalls": {name: round(score, 6) for name, score in self.recalls.items()},
                "features": {
                    name: {"value": None if value is None else round(value, 6), "contribution": round(part, 6)}
                    for name, (value, part) in self.signals.items()
                },
            }
        return shown


def taste(vectors: Mapping[str, Vector], context: Context) -> Vector | None:
    """The decayed mean of the vectors of what was looked at; None when there are none."""
    events = [event for event in context.events if event.item_id in vectors]
    if not events:
        return None
    mean = history_vector(
        np.stack([vectors[event.item_id] for event in events]),
        [event.timestamp.timestamp() for event in events],
        context.now.timestamp(),
        context.half_life_days,
    )
    return mean if mean.any() else None


def interests(context: Context) -> list[tuple[str, float]]:
    """Item ids and weights for the collaborative neighbours; ages count from the latest event, as in training."""
    if not context.events:
        return []
    times = [event.timestamp.timestamp() for event in context.events]
    faded = decay(times, max(times), context.half_life_days)
    return [
        (event.item_id, float(weight) * EVENT_WEIGHTS.get(event.event, 1.0))
        for event, weight in zip(context.events, faded, strict=True)
    ]


def best(scores: Scores, count: int, without: set[str]) -> dict[str, float]:
    """The `count` highest positive scores, of equal ones those with the smaller id."""
    kept = [(item_id, score) for item_id, score in scores.items() if score > 0 and item_id not in without]
    return dict(sorted(kept, key=lambda entry: (-entry[1], entry[0]))[:count])


def rank(
    candidates: Sequence[Candidate],
    recalls: Mapping[str, Scores],
    loaded: Loaded,
    *,
    mean: Vector | None,
    related: Scores | None,
    now: datetime,
) -> list[Ranked]:
    """Scores candidates; the best first, of equal ones the smaller id.

    Args:
        candidates: What was found.
        recalls: By recall, what it found.
        loaded: The release.
        mean: From `taste`.
        related: Collaborative scores of all items; None without a history.
        now: For the items' age.
    """
    if not candidates:
        return []
    ids = [candidate.card.item_id for candidate in candidates]
    created = [c.card.created_at.timestamp() if c.card.created_at else np.nan for c in candidates]
    matrix = feature_matrix(
        len(ids),
        {
            "retrieval": _retrieval(ids, recalls),
            "history": _cosines(candidates, mean),
            "collaborative": None if related is None else _values(ids, related),
            "airec": _weights(ids, recalls.get("airec")),
            "popularity": _values(ids, loaded.popularity),
            "freshness": freshness(created, now.timestamp()),
        },
    )
    parts = loaded.ranker.contributions(matrix)
    scores = loaded.ranker.score(matrix)
    ranked = [
        Ranked(
            candidate.card,
            float(score),
            {
                name: found[candidate.card.item_id]
                for name, found in recalls.items()
                if candidate.card.item_id in found
            },
            {
                name: (None if np.isnan(value) else float(value), float(part))
                for name, value, part in zip(FEATURES, values, contributions, strict=True)
            },
        )
        for candidate, score, values, contributions in zip(candidates, scores, matrix, parts, strict=True)
    ]
    return sorted(ranked, key=lambda item: (-item.score, item.card.item_id))


def _retrieval(ids: Sequence[str], recalls: Mapping[str, Scores]) -> Signal:
    """How well items answer the request: its query, or without one the item being looked at.

    The pipeline's scores are in [0, 1] already; the others are brought there as the pipeline does it.
    """
    if hybrid := recalls.get("hybrid"):
        return _values(ids, hybrid)
    for recall in ("lexical", "item_to_item"):
        if found := recalls.get(recall):
            return _values(ids, dict(zip(found, min_max(list(found.values())), strict=True)))
    return None


def _cosines(candidates: Sequence[Candidate], mean: Vector | None) -> Signal:
    if mean is None:
        return None
    values = np.full(len(candidates), np.nan)
    for row, candidate in enumerate(candidates):
        if candidate.vector is not None and (length := float(np.linalg.norm(candidate.vector))):
            values[row] = float(candidate.vector @ mean) / length
    return values


def _weights(ids: Sequence[str], found: Scores | None) -> Signal:
    """AIRec's weights in [0, 1]; their scale is AIRec's own."""
    if not found:
        return None
    return _values(ids, found) / max(1.0, *found.values())


def _values(ids: Sequence[str], scores: Scores) -> npt.NDArray[np.float64]:
    return np.array([scores.get(item_id, 0.0) for item_id in ids])
