"""Ranking metrics and the interval of their difference."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain with linear gains, as trec_eval computes it (`ndcg_cut`).

    Args:
        ranking: Item ids, best first.
        grades: Grade of each judged item; others count 0.
        k: How many places count.

    Returns:
        A value in [0, 1]; 0 when nothing is relevant.
    """
    gain = sum(grades.get(item, 0) / math.log2(place + 2) for place, item in enumerate(ranking[:k]))
    best = sum(grade / math.log2(place + 2) for place, grade in enumerate(sorted(grades.values(), reverse=True)[:k]))
    return gain / best if best else 0.0


def recall(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Share of the relevant items among the first k; 0 when nothing is relevant."""
    relevant = {item for item, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """One over the place of the first relevant item among the first k, else 0."""
    return next((1 / (place + 1) for place, item in enumerate(ranking[:k]) if grades.get(item, 0) > 0), 0.0)


def bootstrap(
    values: npt.NDArray[np.float64], seed: int = 0, samples: int = 2_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean. For a difference, pass the differences of pairs.

    Args:
        values: One number a query, shape [n].
        seed: Source of chance.
        samples: How many resamples.
        level: Coverage.

    Returns:
        Low and high end; nan for no values.
    """
    if not len(values):
        return math.nan, math.nan
    chance = np.random.default_rng(seed)
    means = np.array([values[chance.integers(0, len(values), len(values))].mean() for _ in range(samples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
