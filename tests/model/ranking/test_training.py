from datetime import UTC, datetime, timedelta

import numpy as np

from model.data.corpus import Corpus
from model.data.records import Document, Interaction, Judgment, Query
from model.data.split import Split
from model.ranking.features import FEATURES
from model.ranking.training import ItemIndex, fit, judged_items, measure, next_items, summarise

START = datetime(2024, 1, 1, tzinfo=UTC)


def corpus() -> Corpus:
    """Two kinds of items, a and b; each user looks at one kind only. The vectors know the kind."""
    documents = [Document(f"{kind}{n}", f"{kind} {n}", "x") for kind in "ab" for n in range(20)]
    chance = np.random.default_rng(0)
    interactions = [
        Interaction(f"u{user}", f"{'ab'[user % 2]}{item}", "click", START + timedelta(hours=100 * step + user))
        for user in range(20)
        for step, item in enumerate(chance.permutation(20)[:10])
    ]
    return Corpus("", documents, interactions, [], [], Split(None, None, {}, frozenset()))


VECTORS = np.array([[1.0, 0.0]] * 20 + [[0.0, 1.0]] * 20, dtype=np.float32)


def test_next_items_are_new_to_their_users() -> None:
    items = [Interaction("u", item, "view", START + timedelta(days=n)) for n, item in enumerate("aabca")]
    found = next_items(items, START + timedelta(days=1), START + timedelta(days=4), seed=0)
    assert [(event.item_id, sorted(event.seen), len(event.history)) for event in found] == [
        ("b", ["a"], 2),
        ("c", ["a", "b"], 3),
    ]


def test_the_ranker_learns_what_users_follow() -> None:
    index = ItemIndex.build(corpus(), VECTORS, 30.0)
    middle, late = START + timedelta(hours=400), START + timedelta(hours=800)
    events = next_items(index.corpus.interactions, middle, late, seed=0)
    ranker = fit(index.as_of(middle.timestamp()), events, {}, (0.3, 0.7), "v", seed=0)
    weights = dict(zip(ranker.names, ranker.weights, strict=True))
    assert weights["history"] + weights["collaborative"] > 1
    assert weights["airec"] == 0.5 * max(weights["history"], 0.1)
    tested = next_items(index.corpus.interactions, late, None, seed=0)
    summary = summarise(measure(index.as_of(late.timestamp()), ranker, tested), seed=0)
    assert summary["events"] == 40
    assert summary["gain"]["low"] > 0


def test_without_interactions_all_signals_weigh() -> None:
    empty = Corpus("", corpus().documents, [], [], [], Split(None, None, {}, frozenset()))
    ranker = fit(ItemIndex.build(empty, VECTORS, 30.0).as_of(0.0), [], {}, (0.3, 0.7), "v", seed=0)
    assert ranker.names == FEATURES
    assert (ranker.weights > 0).all()
    assert np.isfinite(ranker.score(np.full((2, len(FEATURES)), 0.5))).all()


def test_a_query_outweighs_popularity_where_no_log_has_queries() -> None:
    index = ItemIndex.build(corpus(), VECTORS, 30.0)
    events = next_items(index.corpus.interactions, START + timedelta(hours=400), None, seed=0)
    ranker = fit(index.as_of((START + timedelta(hours=400)).timestamp()), events, {}, (0.3, 0.7), "v", seed=0)
    asked = np.full((2, len(FEATURES)), np.nan)
    asked[:, FEATURES.index("retrieval")] = [1.0, 0.0]
    asked[:, FEATURES.index("popularity")] = [0.0, 1.0]
    best, popular = ranker.score(asked)
    assert best >= popular


def test_judged_queries_teach_what_a_query_counts() -> None:
    queries = [Query(f"q{n}", f"b {n}") for n in range(20)]
    judgments = [Judgment(f"q{n}", f"b{n}", 1) for n in range(20)] + [Judgment("q0", "a0", 0)]
    events = judged_items(queries, judgments)
    assert [(event.item_id, event.query, event.history) for event in events[:1]] == [("b0", "b 0", ())]
    assert len(events) == 20
    index = ItemIndex.build(corpus(), VECTORS, 30.0)
    vectors = {query.text: VECTORS[20] for query in queries}
    ranker = fit(index.as_of(START.timestamp()), events, vectors, (0.3, 0.7), "v", seed=0)
    weights = dict(zip(ranker.names, ranker.weights, strict=True))
    assert weights["retrieval"] > max(weights["popularity"], weights["freshness"])


def test_nothing_to_measure() -> None:
    index = ItemIndex.build(corpus(), VECTORS, 30.0)
    ranker = fit(index.as_of(0.0), [], {}, (0.3, 0.7), "v", seed=0)
    assert summarise(measure(index.as_of(0.0), ranker, []), seed=0) == {"events": 0}
