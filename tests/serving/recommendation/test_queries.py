from __future__ import annotations

from serving.recommendation import queries


def test_the_parts_of_a_hybrid_query_are_in_the_order_of_the_weights() -> None:
    lexical, nearest = queries.hybrid("a query", [0.5], 7, ())["hybrid"]["queries"]

    assert lexical == queries.lexical("a query", ())
    assert nearest == {"knn": {"vector": {"vector": [0.5], "k": 7}}}


def test_the_excluded_are_filtered_in_both_parts() -> None:
    excluded = {"ids": {"values": ["x", "y"]}}

    lexical, nearest = queries.hybrid("a query", [0.5], 7, {"y", "x"})["hybrid"]["queries"]

    assert lexical["bool"]["must_not"] == [excluded]
    assert nearest["knn"]["vector"]["filter"] == {"bool": {"must_not": [excluded]}}


def test_a_search_reads_no_vectors() -> None:
    assert "vector" not in queries.body(queries.lexical("q", ()), 3)["_source"]
