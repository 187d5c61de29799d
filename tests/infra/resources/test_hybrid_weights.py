"""HybridWeights: the search pipeline in a real OpenSearch, and what is refused before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pulumi.runtime import rpc

from infra.resources.hybrid_weights import HybridWeightsProvider, document, observe, plan, validate
from tests.opensearch import Node

SETTINGS = {"bm25_weight": 0.3, "vector_weight": 0.7, "normalization": "min_max", "combination": "arithmetic_mean"}


@pytest.fixture
def props(opensearch: Node) -> Iterator[dict[str, Any]]:
    yield {**opensearch.connection(), "pipeline": "test-hybrid", **SETTINGS}
    opensearch.session().delete(f"{opensearch.url}/_search/pipeline/test-hybrid")


def live(node: Node) -> Any:
    return node.session().get(f"{node.url}/_search/pipeline/test-hybrid").json()["test-hybrid"]


@pytest.mark.opensearch
def test_life_of_a_pipeline(opensearch: Node, props: dict[str, Any]) -> None:
    provider = HybridWeightsProvider()

    made = provider.create(props)
    assert made.id == "test-hybrid"
    (processor,) = live(opensearch)["phase_results_processors"]
    assert processor["normalization-processor"]["combination"]["parameters"]["weights"] == [0.3, 0.7]
    assert provider.diff(made.id, made.outs or {}, props).changes is False

    wanted = {**props, "bm25_weight": 0.5, "vector_weight": 0.5, "combination": "harmonic_mean"}
    updated = provider.update(made.id, made.outs or {}, wanted)
    assert updated.outs == wanted
    assert observe(live(opensearch)) == {name: wanted[name] for name in SETTINGS}

    provider.delete(made.id, updated.outs or {})
    provider.delete(made.id, updated.outs or {})
    assert provider.read(made.id, updated.outs or {}).id == ""


@pytest.mark.opensearch
def test_a_hand_edit_is_drift_that_an_update_repairs(opensearch: Node, props: dict[str, Any]) -> None:
    provider = HybridWeightsProvider()
    made = provider.create(props)
    edited = document({**SETTINGS, "bm25_weight": 0.9, "vector_weight": 0.1})
    url = f"{opensearch.url}/_search/pipeline/test-hybrid"
    assert opensearch.session().put(url, json=edited).status_code == 200

    read = provider.read(made.id, made.outs or {})

    assert (read.outs or {})["bm25_weight"] == 0.9
    assert (read.inputs or {})["vector_weight"] == 0.1
    assert provider.diff(made.id, read.outs or {}, props).changes is True
    provider.update(made.id, read.outs or {}, props)
    assert observe(live(opensearch)) == SETTINGS


@pytest.mark.opensearch
def test_create_takes_over_and_keeps_what_others_added(opensearch: Node, props: dict[str, Any]) -> None:
    extra = {
        "request_processors": [{"neural_query_enricher": {"default_model_id": "m"}}],
        "phase_results_processors": [],
    }
    url = f"{opensearch.url}/_search/pipeline/test-hybrid"
    assert opensearch.session().put(url, json=extra).status_code == 200

    HybridWeightsProvider().create(props)

    assert "neural_query_enricher" in live(opensearch)["request_processors"][0]
    assert observe(live(opensearch)) == SETTINGS


def test_a_foreign_pipeline_shows_as_no_settings() -> None:
    assert set(observe({"request_processors": []}).values()) == {None}


@pytest.mark.parametrize(
    ("given", "name", "words"),
    [
        ({"bm25_weight": 0.3, "vector_weight": 0.6}, "vector_weight", "is 0.9; the weights must sum to 1"),
        ({"bm25_weight": -0.1, "vector_weight": 1.1}, "vector_weight", "bm25Weight is -0.1"),
        ({"bm25_weight": float("nan"), "vector_weight": 1}, "vector_weight", "bm25Weight is nan"),
        ({"bm25_weight": "0.3", "vector_weight": 0.7}, "bm25_weight", "'0.3'"),
        ({"normalization": "z_score"}, "normalization", "min_max, l2"),
        ({"combination": "sum"}, "combination", "arithmetic_mean"),
    ],
)
def test_validate_names_the_property(given: dict[str, Any], name: str, words: str) -> None:
    problems = validate(given)

    assert list(problems) == [name]
    assert words in problems[name]


def test_unknown_values_pass() -> None:
    unknown = rpc.deserialize_property(rpc.UNKNOWN, True)
    provider = HybridWeightsProvider()
    news = {**SETTINGS, "password": unknown, "bm25_weight": unknown}

    assert provider.check({}, news).failures == []
    assert provider.diff("id", dict(SETTINGS), news).changes is True


def test_plan_says_what_happens_in_words() -> None:
    old = {**SETTINGS, "pipeline": "p"}

    assert plan(old, old) == []
    assert plan(old, {**old, "bm25_weight": 0.4, "vector_weight": 0.6}) == [
        "bm25_weight 0.3 -> 0.4",
        "vector_weight 0.7 -> 0.6",
    ]
    assert plan({}, old)[0].startswith("create search pipeline p with bm25_weight 0.3")
