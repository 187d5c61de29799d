from pathlib import Path

import pytest

from model.ranking import ArtifactError, Collaborative

DAY = 86_400.0
EVENTS = [
    ("u", "a", 0.0, 1.0), ("u", "b", 0.0, 1.0), ("v", "a", 0.0, 1.0), ("v", "b", 0.0, 1.0),
    ("w", "a", 0.0, 1.0), ("w", "c", 0.0, 1.0), ("x", "d", 0.0, 1.0),
]  # fmt: skip


def test_items_of_the_same_users_are_neighbours() -> None:
    scores = Collaborative.build(EVENTS, 0.0, 30.0).scores([("a", 1.0)])
    assert set(scores) == {"b", "c"}
    assert 1 > scores["b"] > scores["c"] > 0


def test_unknown_items_count_nothing() -> None:
    collaborative = Collaborative.build(EVENTS, 0.0, 30.0)
    assert collaborative.scores([]) == collaborative.scores([("z", 1.0)]) == {}
    assert collaborative.scores([("z", 1.0), ("a", 2.0)]) == collaborative.scores([("a", 1.0)])


def test_old_interactions_fade() -> None:
    events = [("u", "old", 0.0, 1.0), ("v", "old", 0.0, 1.0), ("u", "new", 60 * DAY, 1.0)]
    assert Collaborative.build(events, 60 * DAY, 30.0).popular(2) == [("new", 1.0), ("old", 0.5)]


def test_no_interactions() -> None:
    collaborative = Collaborative.build([], 0.0, 30.0)
    assert collaborative.scores([("a", 1.0)]) == {}
    assert collaborative.popular(3) == []


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    for events in (EVENTS, []):
        collaborative = Collaborative.build(events, 0.0, 30.0)
        collaborative.save(tmp_path / "c.npz")
        loaded = Collaborative.load(tmp_path / "c.npz")
        assert loaded.items == collaborative.items
        assert loaded.scores([("a", 1.0)]) == pytest.approx(collaborative.scores([("a", 1.0)]), rel=1e-6)


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "c.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"c\.npz"):
        Collaborative.load(path)
