import numpy as np

from model.data.records import Judgment, Query
from model.evaluation.retrieval import grades_of, ndcg_by_query, rank


def test_a_query_s_own_document_is_left_out() -> None:
    scores = np.array([[0.9, 0.5, 0.5], [0.1, 0.2, 0.3]])
    rankings = rank(scores, [Query("a", "x"), Query("q", "y")], ["a", "b", "c"], depth=2)
    assert rankings == {"a": ["b", "c"], "q": ["c", "b"]}


def test_scores_follow_the_judgments() -> None:
    grades = grades_of([Judgment("q", "c", 2), Judgment("q", "b", 0), Judgment("a", "b", 1)])
    assert grades == {"q": {"c": 2, "b": 0}, "a": {"b": 1}}
    np.testing.assert_allclose(ndcg_by_query({"a": ["b"], "q": ["b"]}, grades), [1, 0])
