import math

import numpy as np
import pytest

from model.evaluation.metrics import bootstrap, ndcg, recall, reciprocal_rank


def test_ndcg_is_that_of_trec_eval() -> None:
    grades = {"a": 2, "b": 1, "c": 0}
    assert ndcg(["a", "b"], grades) == 1
    assert ndcg(["x", "b", "a"], grades) == pytest.approx((1 / math.log2(3) + 2 / 2) / (2 + 1 / math.log2(3)))
    assert ndcg(["x"], grades) == ndcg([], grades) == ndcg(["c"], {"c": 0}) == 0
    assert ndcg(["x"] * 10 + ["a"], grades, k=10) == 0


def test_recall_and_reciprocal_rank() -> None:
    assert recall(["a", "x"], {"a": 1, "b": 2, "c": 0}, 2) == 0.5
    assert reciprocal_rank(["x", "a"], {"a": 1}, 10) == 0.5
    assert reciprocal_rank(["x", "a"], {"a": 1}, 1) == 0
    assert recall([], {}, 1) == 0


def test_the_interval_holds_the_mean() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 200)
    low, high = bootstrap(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(4 * 0.1 / math.sqrt(200), rel=0.15)
    assert all(math.isnan(end) for end in bootstrap(np.array([])))
