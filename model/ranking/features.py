"""The signals that the ranker weighs. Names and formulas are here only, for training and serving alike.

A signal that is missing is nan; the ranker takes it as neutral.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FEATURES = ("retrieval", "history", "collaborative", "airec", "popularity", "freshness")
"""In the order of the columns.

- retrieval: score of the hybrid query in [0, 1]; missing without a query
- history: cosine to the user's history vector; missing for an unknown user
- collaborative: `Collaborative.scores` of the user's history; missing for an unknown user
- airec: weight from AIRec's recall in [0, 1]; missing when AIRec isn't there
- popularity: logarithm of the decayed count of interactions, the most popular item being 1
- freshness: 1 for a new item, a half after `FRESH_DAYS`; missing when the item's age is unknown
"""
FRESH_DAYS = 90.0
HISTORY = 50
"""At most so many of a user's latest interactions count."""
DAY = 86_400.0
EVENT_WEIGHTS = {
    "view": 1.0, "click": 1.0, "comment": 1.0, "tag": 1.0, "rate": 1.0, "ask": 2.0, "answer": 2.0,
    "bookmark": 2.0, "favourite": 2.0, "like": 2.0, "purchase": 3.0,
}  # fmt: skip
"""How much an interaction says about a user's taste; other events count 1."""


def feature_matrix(count: int, signals: Mapping[str, npt.ArrayLike | None]) -> Array:
    """Puts signals into columns.

    Args:
        count: Number of candidates.
        signals: By name, one value for each candidate; nan, None or an absent name is missing.

    Returns:
        Shape [candidates, features].

    Raises:
        ValueError: A signal isn't in `FEATURES`, or has not one value for each candidate.
    """
    if unknown := signals.keys() - set(FEATURES):
        raise ValueError(f"unknown signal {min(unknown)!r}; known are {', '.join(FEATURES)}")
    matrix = np.full((count, len(FEATURES)), np.nan)
    for column, name in enumerate(FEATURES):
        values = signals.get(name)
        if values is not None:
            found = np.asarray(values, dtype=np.float64)
            if found.shape != (count,):
                raise ValueError(f"signal {name!r} has shape {found.shape}, expected ({count},)")
            matrix[:, column] = found
    return matrix


def decay(timestamps: npt.ArrayLike, now: float, half_life_days: float) -> Array:
    """Weights that halve every `half_life_days`; times are in seconds since 1970, later than now counts as now."""
    ages = np.maximum(0.0, now - np.asarray(timestamps, dtype=np.float64)) / DAY
    return np.exp2(-ages / half_life_days)


def history_vector(
    vectors: npt.ArrayLike, timestamps: Sequence[float] | Array, now: float, half_life_days: float = 30.0
) -> npt.NDArray[np.float32]:
    """Decayed mean of the vectors of what a user looked at: the query vector of `semantic_recall`.

    Ages count from the user's latest interaction, so that a user who comes back after a year has the taste of then.

    Args:
        vectors: Shape [interactions, dimension].
        timestamps: Seconds since 1970, one for each vector.
        now: Interactions later than this are taken as of now.
        half_life_days: Age at which an interaction counts half.

    Returns:
        A vector of length 1, shape [dimension]; zeros when there is nothing or the mean vanishes.
    """
    found = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    times = np.minimum(np.asarray(timestamps, dtype=np.float64), now)
    if not len(times):
        return np.zeros(found.shape[-1], dtype=np.float32)
    mean = decay(times, float(times.max()), half_life_days) @ found
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length if length > 1e-12 else mean * 0, dtype=np.float32)


def popularity(counts: npt.ArrayLike) -> Array:
    """The popularity signal from decayed counts of interactions of all items."""
    logs = np.log1p(np.asarray(counts, dtype=np.float64))
    most = float(logs.max(initial=0.0))
    return logs / most if most else logs


def freshness(created: npt.ArrayLike, now: float) -> Array:
    """The freshness signal from times of creation in seconds since 1970; nan stays nan."""
    return decay(created, now, FRESH_DAYS)


def min_max(scores: npt.ArrayLike) -> Array:
    """Scores as the search pipeline normalises them: the best is 1, the worst 0, all equal are 1."""
    found = np.asarray(scores, dtype=np.float64)
    if not found.size:
        return found
    low, high = float(found.min()), float(found.max())
    return (found - low) / (high - low) if high > low else np.ones_like(found)
