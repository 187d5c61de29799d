"""Digests of releases."""

from hypothesis import given
from hypothesis import strategies as st

from infra.release import digest, short


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.text()))
def test_order_does_not_matter(parts: dict[str, object]) -> None:
    assert digest(**parts) == digest(**dict(reversed(parts.items())))


def test_every_part_counts() -> None:
    assert len({digest(data="a", code="b"), digest(data="b", code="a"), digest(data="a", code="b", more=1)}) == 3
    assert short(digest(data="a")) == digest(data="a")[:12]
