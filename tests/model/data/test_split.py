from datetime import UTC, datetime, timedelta

from model.data.records import Judgment, Query
from model.data.split import split_by_time
from model.sample import Sample

START = datetime(2024, 1, 1, tzinfo=UTC)


def test_the_last_queries_test_and_those_before_validate() -> None:
    queries = [Query(str(n), f"text {n}", START + timedelta(days=n)) for n in range(20)]
    split = split_by_time([], [], queries, [Judgment(str(n), "d", 1) for n in range(20)])
    assert [split.parts[str(n)] for n in range(20)] == ["train"] * 14 + ["validation"] * 3 + ["test"] * 3
    assert split.validation_from == START + timedelta(days=14)
    assert split.held_out_texts == {f"text {n}" for n in range(14, 20)}


def test_queries_without_times_that_share_an_answer_stay_together() -> None:
    queries = [Query(str(n), f"text {n}") for n in range(200)]
    judgments = [Judgment(str(n), f"d{n // 4}", 1) for n in range(200)]
    split = split_by_time([], [], queries, judgments)
    assert split.validation_from is None
    assert all(len({split.parts[str(4 * group + n)] for n in range(4)}) == 1 for group in range(50))
    assert set(split.parts.values()) == {"train", "validation", "test"}


def test_without_queries_interactions_decide(sample: Sample) -> None:
    interactions = list(sample.interactions())
    split = split_by_time([], interactions, [], [])
    assert split.validation_from is not None
    share = sum(split.known(interaction.timestamp) for interaction in interactions) / len(interactions)
    assert abs(share - 0.7) < 0.01


def test_the_fingerprint_follows_the_parts() -> None:
    queries = [Query(str(n), f"text {n}", START + timedelta(days=n)) for n in range(20)]
    judgments = [Judgment(str(n), "d", 1) for n in range(20)]
    first, second = split_by_time([], [], queries, judgments), split_by_time([], [], queries[1:], judgments)
    assert first.fingerprint == split_by_time([], [], queries, judgments).fingerprint != second.fingerprint
