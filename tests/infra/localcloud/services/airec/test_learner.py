"""The learner by itself: what it must hold for any data."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.localcloud.services.airec.learner import learn

ITEMS = {
    name: {"item_id": name, "item_type": "article", "pub_time": str(index)} for index, name in enumerate("abcdef")
}
DAY = 86_400


def behavior(user: str, item: str, time: int = 0, kind: str = "click") -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "bhv_type": kind, "bhv_time": str(1_700_000_000 + time)}


def test_nothing_known_is_no_error() -> None:
    assert learn({}, []).recommend("u", 10) == []
    fresh = [pick.item for pick in learn(ITEMS, []).recommend("u", 3)]
    assert fresh == ["f", "e", "d"]


def test_recent_interest_outweighs_older_interest() -> None:
    others = [behavior(f"x{n}", item) for n in range(5) for item in "ab"]
    others += [behavior(f"y{n}", item) for n in range(5) for item in "cd"]
    old, new = (
        [behavior("u", "a", -300 * DAY), behavior("u", "c")],
        [behavior("u", "a"), behavior("u", "c", -300 * DAY)],
    )
    assert learn(ITEMS, others + old).recommend("u", 1)[0].item == "d"
    assert learn(ITEMS, others + new).recommend("u", 1)[0].item == "b"


def test_a_stronger_behaviour_counts_for_more_and_exposures_for_nothing() -> None:
    log = [behavior("u", "a", kind="buy"), behavior("v", "b"), behavior("w", "c", kind="expose")]
    picks = {pick.item: pick for pick in learn(ITEMS, log).recommend("stranger", 6)}
    assert picks["a"].weight > picks["b"].weight
    assert picks["c"].recall == "new"


def test_disliked_items_are_not_offered_again() -> None:
    log = [behavior("u", "a", kind="dislike"), behavior("v", "a"), behavior("v", "b")]
    assert "a" not in [pick.item for pick in learn(ITEMS, log).recommend("u", 6)]


@given(
    st.lists(
        st.builds(
            behavior,
            st.sampled_from("uvw"),
            st.sampled_from("abcdefz"),
            st.integers(0, 1000 * DAY),
            st.sampled_from(["click", "buy", "expose", "dislike", "unheard"]),
        ),
        max_size=30,
    ),
    st.integers(0, 8),
)
def test_answers_are_distinct_unseen_ordered_and_the_same_again(log: list[dict[str, Any]], count: int) -> None:
    picks = learn(ITEMS, log).recommend("u", count)
    seen = {row["item_id"] for row in log if row["user_id"] == "u" and row["bhv_type"] in ("click", "buy", "dislike")}
    names = [pick.item for pick in picks]
    assert len(names) == len(set(names)) == min(count, len(set(ITEMS) - seen))
    assert not seen & set(names)
    assert [pick.weight for pick in picks] == sorted((pick.weight for pick in picks), reverse=True)
    assert all(0 <= pick.weight <= 1 for pick in picks)
    assert learn(ITEMS, log).recommend("u", count) == picks
