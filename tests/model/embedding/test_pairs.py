from datetime import UTC, datetime, timedelta

import pytest

from model.data.records import Document, Interaction, Judgment, Query
from model.data.split import Split
from model.embedding.pairs import Pair, TooFewPairsError, choose_pairs, count_kinds, mine_pairs

CUT = datetime(2024, 6, 1, tzinfo=UTC)
BEFORE, AFTER = CUT - timedelta(days=1), CUT + timedelta(days=1)
SPLIT = Split(CUT, CUT, {"train": "train", "held": "test"}, frozenset(["asked later"]))


def mine(documents: list[Document], *rest: object, split: Split = SPLIT) -> list[tuple[str, str, str]]:
    interactions = [r for r in rest if isinstance(r, Interaction)]
    queries = [r for r in rest if isinstance(r, Query)]
    judgments = [r for r in rest if isinstance(r, Judgment)]
    return [(p.kind, p.anchor, p.positive) for p in mine_pairs(documents, interactions, queries, judgments, split)]


def test_titles_and_texts() -> None:
    documents = [
        Document("a", "T", "x"),
        Document("b", "", "y"),
        Document("c", "z", "z"),
        Document("d", "One.", "One. Two."),
    ]
    assert mine(documents) == [("title", "T", "x"), ("title", "One.", "Two.")]


def test_nothing_later_than_the_cut() -> None:
    documents = [Document("old", "T", "x", created_at=BEFORE), Document("new", "N", "y", created_at=CUT)]
    clicks = [
        Interaction("u", "old", "click", CUT, query="late"),
        Interaction("u", "new", "click", BEFORE, query="odd"),
    ]
    assert mine(documents, *clicks) == [("title", "T", "x")]


def test_answers_of_questions() -> None:
    documents = [
        Document("q", "Why?", "Tell.", created_at=BEFORE),
        Document("a", "So.", "So. Yes.", fields={"question_id": "q", "score": 1}, created_at=BEFORE),
        Document("bad", "No", "No", fields={"question_id": "q", "score": -1}, created_at=BEFORE),
        Document("late", "Hm", "Hm", fields={"question_id": "q"}, created_at=AFTER),
    ]
    found = [pair for pair in mine(documents) if pair[0] == "answer"]
    assert found == [("answer", "Why?", "So. Yes."), ("answer", "Why?\nTell.", "So. Yes.")]


def test_clicks_and_judgments_of_training_only() -> None:
    found = mine(
        [Document("a", "", "x")],
        Interaction("u", "a", "click", BEFORE, query="known"),
        Interaction("v", "a", "click", BEFORE, query="known"),
        Interaction("u", "a", "click", BEFORE, query="Asked  LATER"),
        Query("train", "trained", BEFORE),
        Query("held", "asked later", AFTER),
        Judgment("train", "a", 1),
        Judgment("held", "a", 1),
    )
    assert found == [("judgment", "trained", "x"), ("click", "known", "x")]


def test_co_interactions_need_two_users_in_one_sitting() -> None:
    documents = [Document(name, "", name) for name in "abc"]

    def sitting(user: str, *items: str, gap: int = 1) -> list[Interaction]:
        return [Interaction(user, item, "view", BEFORE + timedelta(minutes=gap * n)) for n, item in enumerate(items)]

    found = mine(documents, *sitting("u", "a", "b", "c"), *sitting("v", "b", "a"), *sitting("w", "b", "c", gap=90))
    assert found == [("co-interaction", "a", "b")]


def pairs(kind: str, count: int) -> list[Pair]:
    assert kind in {"title", "click", "co-interaction"}
    return [Pair(f"{kind} {n}", str(n), kind, None, str(n)) for n in range(count)]  # type: ignore[arg-type]  # checked


def test_kinds_are_drawn_in_proportion() -> None:
    chosen = choose_pairs(pairs("title", 300) + pairs("click", 100) + pairs("co-interaction", 500), 100, 0.1, seed=1)
    assert count_kinds(chosen) == {"click": 22, "co-interaction": 10, "title": 68}
    assert chosen == choose_pairs(
        pairs("title", 300) + pairs("click", 100) + pairs("co-interaction", 500), 100, 0.1, seed=1
    )


def test_co_interactions_alone_are_taken() -> None:
    assert len(choose_pairs(pairs("co-interaction", 500), 100, 0.1, seed=1)) == 100


def test_too_few_pairs_say_what_to_do() -> None:
    with pytest.raises(TooFewPairsError, match="31 training pairs, at least 32 are needed: add documents"):
        choose_pairs(pairs("title", 31), 100, 0.1, seed=1)
