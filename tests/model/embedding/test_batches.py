from hypothesis import given, settings
from hypothesis import strategies as st

from model.embedding.batches import plan_batches
from model.embedding.pairs import Pair


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 100)), max_size=120),
    st.integers(2, 16),
)
def test_a_batch_has_no_two_answers_of_one_question(drawn: list[tuple[int, int, int]], size: int) -> None:
    pairs = [Pair(f"anchor {a}", f"text {p}", "click", None, str(p)) for a, p, _ in drawn]
    batches = plan_batches(pairs, [length for *_, length in drawn], size, seed=1, epoch=0)
    used = [index for batch in batches for index in batch]
    assert len(used) == len(set(used))
    for batch in batches:
        assert 2 <= len(batch) <= size
        assert len({pairs[index].anchor for index in batch}) == len(batch)
        assert len({pairs[index].positive_id for index in batch}) == len(batch)


def test_every_pair_is_used_when_none_conflict() -> None:
    pairs = [Pair(str(n), str(n), "title", str(n), str(n)) for n in range(100)]
    batches = plan_batches(pairs, [1] * 100, 32, seed=1, epoch=0)
    assert sorted(index for batch in batches for index in batch) == list(range(100))
    assert batches == plan_batches(pairs, [1] * 100, 32, seed=1, epoch=0)
    assert batches != plan_batches(pairs, [1] * 100, 32, seed=1, epoch=1)


def test_batches_are_alike_in_length() -> None:
    pairs = [Pair(str(n), str(n), "title", None, str(n)) for n in range(320)]
    lengths = [n % 64 for n in range(320)]
    for batch in plan_batches(pairs, lengths, 32, seed=1, epoch=0):
        assert max(lengths[i] for i in batch) - min(lengths[i] for i in batch) < 16
