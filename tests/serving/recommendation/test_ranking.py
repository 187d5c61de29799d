from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from serving.recommendation.catalogue import Card
from serving.recommendation.history import Event
from serving.recommendation.ranking import Candidate, Context, Ranked, Scores, best, interests, rank, taste
from serving.recommendation.release import Loaded, Release, load
from tests.serving.recommendation.artifacts import write_artifacts
from tests.serving.recommendation.world import Folder

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("artifacts")
    write_artifacts(folder / "a", ["a", "b", "c"])
    release = Release(id="0" * 12, artifacts="a/", index="items", pipeline="p", model="m")
    return load(release, Folder(folder), folder / "cache")


def event(days_ago: float, item_id: str, kind: str = "click") -> Event:
    return Event(NOW - timedelta(days=days_ago), item_id, kind)


def context(*events: Event) -> Context:
    return Context(events, NOW, half_life_days=30)


def candidate(item_id: str, vector: list[float] | None = None, days_old: float | None = None) -> Candidate:
    created = None if days_old is None else NOW - timedelta(days=days_old)
    return Candidate(
        Card(item_id, created_at=created), None if vector is None else np.asarray(vector, dtype=np.float32)
    )


def ranked(
    loaded: Loaded, *candidates: Candidate, recalls: dict[str, Scores] | None = None, related: Scores | None = None
) -> list[Ranked]:
    mean = np.array([1.0, 0.0], dtype=np.float32)
    return rank(candidates, recalls or {}, loaded, mean=mean, related=related, now=NOW)


def test_what_was_looked_at_a_half_life_earlier_counts_half() -> None:
    vectors = {"a": np.array([1.0, 0.0], np.float32), "b": np.array([0.0, 1.0], np.float32)}

    mean = taste(vectors, context(event(0, "a"), event(30, "b")))

    assert mean is not None
    assert mean.tolist() == pytest.approx([2 / math.sqrt(5), 1 / math.sqrt(5)])


def test_there_is_no_taste_without_vectors() -> None:
    assert taste({}, context(event(0, "a"))) is None
    assert taste({"a": np.array([1.0], np.float32)}, context()) is None


def test_interests_weigh_age_and_kind() -> None:
    assert interests(context(event(0, "a", "view"), event(30, "b", "purchase"))) == [("a", 1.0), ("b", 1.5)]
    assert interests(context()) == []


def test_an_item_being_viewed_is_the_latest_event_and_stands_once() -> None:
    viewing = context(event(5, "a"), event(6, "b")).viewing("b")

    assert [(e.item_id, e.timestamp) for e in viewing.events] == [("b", NOW), ("a", NOW - timedelta(days=5))]
    assert context(event(5, "a")).viewing("") == context(event(5, "a"))


def test_the_best_are_positive_sorted_and_not_excluded() -> None:
    scores = {"a": 1.0, "b": 2.0, "c": 0.0, "d": 1.0, "e": 9.0}

    assert list(best(scores, 2, {"e"}).items()) == [("b", 2.0), ("a", 1.0)]


def test_signals_that_are_missing_are_neutral_and_shown_as_such(loaded: Loaded) -> None:
    (item,) = ranked(loaded, candidate("unknown"))

    values = {name: value for name, (value, _) in item.signals.items()}
    assert values == {
        "retrieval": None,
        "history": None,
        "collaborative": None,
        "airec": None,
        "popularity": 0.0,
        "freshness": None,
    }
    assert item.score == 0


def test_each_signal_is_on_its_scale(loaded: Loaded) -> None:
    first, second = ranked(
        loaded,
        candidate("a", [3.0, 4.0], days_old=90),
        candidate("b", [0.0, 2.0], days_old=0),
        recalls={"lexical": {"a": 12.0, "b": 4.0}, "airec": {"a": 20.0, "c": 40.0}},
        related={"a": 0.25},
    )

    assert {name: value for name, (value, _) in first.signals.items()} == pytest.approx(
        {"retrieval": 1, "history": 0.6, "collaborative": 0.25, "airec": 0.5, "popularity": 1, "freshness": 0.5}
    )
    assert {name: value for name, (value, _) in second.signals.items()} == pytest.approx(
        {
            "retrieval": 0,
            "history": 0,
            "collaborative": 0,
            "airec": 0,
            "popularity": math.log(3) / math.log(4),
            "freshness": 1,
        }
    )
    assert first.recalls == {"lexical": 12.0, "airec": 20.0}
    assert first.score == pytest.approx(sum(part for _, part in first.signals.values()))


def test_hybrid_scores_stay_as_the_pipeline_made_them(loaded: Loaded) -> None:
    items = ranked(
        loaded, candidate("a"), candidate("b"), recalls={"hybrid": {"a": 0.5}, "item_to_item": {"b": 0.9, "a": 0.8}}
    )

    assert {item.card.item_id: item.signals["retrieval"][0] for item in items} == {"a": 0.5, "b": 0.0}


def test_equal_scores_are_ordered_by_id(loaded: Loaded) -> None:
    items = ranked(loaded, candidate("z"), candidate("x"), candidate("y"))

    assert [item.card.item_id for item in items] == ["x", "y", "z"]


def test_nothing_found_is_nothing_ranked(loaded: Loaded) -> None:
    assert ranked(loaded) == []
