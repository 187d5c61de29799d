"""Rankings of a corpus for queries, by vectors, and their scores by judgments."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from model.data.records import Judgment, Query
from model.evaluation.metrics import ndcg

DEPTH = 100
"""How many places a ranking has."""


def grades_of(judgments: Sequence[Judgment]) -> dict[str, dict[str, int]]:
    """Grades by query and item."""
    found: dict[str, dict[str, int]] = {}
    for judgment in judgments:
        found.setdefault(judgment.query_id, {})[judgment.item_id] = judgment.grade
    return found


def rank(
    scores: npt.NDArray[np.floating], queries: Sequence[Query], items: Sequence[str], depth: int = DEPTH
) -> dict[str, list[str]]:
    """Best items for each query; equal scores keep the order of `items`.

    A document with the query's own id is left out (see `Query.id`).

    Args:
        scores: Shape [queries, items].
        queries: Rows of the scores.
        items: Columns of the scores.
        depth: How many to keep.
    """
    found = {}
    for row, query in zip(scores, queries, strict=True):
        order = np.argsort(-row, kind="stable")[: depth + 1]
        found[query.id] = [items[column] for column in order if items[column] != query.id][:depth]
    return found


def ndcg_by_query(
    rankings: Mapping[str, Sequence[str]], grades: Mapping[str, Mapping[str, int]], k: int = 10
) -> npt.NDArray[np.float64]:
    """nDCG@k of each ranking, in their order."""
    return np.array([ndcg(ranking, grades[query], k) for query, ranking in rankings.items()], dtype=np.float64)
