"""Ranking of candidates for a user: signals, neighbours, the linear ranker. Needs numpy and scipy only."""

from model.ranking.collaborative import ArtifactError, Collaborative
from model.ranking.features import (
    EVENT_WEIGHTS,
    FEATURES,
    HISTORY,
    decay,
    feature_matrix,
    freshness,
    history_vector,
    min_max,
    popularity,
)
from model.ranking.ranker import Ranker

__all__ = [
    "EVENT_WEIGHTS",
    "FEATURES",
    "HISTORY",
    "ArtifactError",
    "Collaborative",
    "Ranker",
    "decay",
    "feature_matrix",
    "freshness",
    "history_vector",
    "min_max",
    "popularity",
]
