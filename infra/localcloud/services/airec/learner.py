"""What recommends behind the local AIRec: item-to-item similarity from behaviours, popularity, freshness.

Nothing of this is Alibaba's algorithm, which is not public. It learns from the same three tables and answers in the
same form, so that the pipeline around it can be run and measured; its quality says nothing about AIRec's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Fields = Mapping[str, Any]
Vector = npt.NDArray[np.float64]

# How much a behaviour says about interest. Exposures and everything unknown say nothing.
BEHAVIOR_WEIGHTS = {
    "click": 1.0, "read": 1.0, "play": 1.0, "stay": 1.0, "like": 2.0, "collect": 2.5, "share": 2.5, "download": 2.5,
    "comment": 2.0, "follow": 2.0, "subscribe": 2.5, "cart": 3.0, "buy": 4.0, "tip": 4.0, "evaluate": 1.5,
}  # fmt: skip
NEGATIVE = frozenset({"dislike", "unlike", "uncollect"})

HALF_LIFE_DAYS = 30.0
SHRINKAGE = 4.0  # pulls similarities of items with few users towards zero
_DAY = 86_400.0


@dataclass(frozen=True)
class Pick:
    """An item that was picked, and by which of the recalls: ``i2i``, ``hot`` or ``new`` (AIRec's own names)."""

    item: str
    item_type: str
    weight: float
    recall: str


@dataclass(frozen=True)
class Model:
    """What was learnt from the tables at one moment. Items are indexed in the order of `items`."""

    items: list[str]
    fields: list[Fields]
    users: dict[str, int]
    seen: sparse.csr_array  # users x items, 1 where the user has dealt with the item
    interest: sparse.csr_array  # users x items, weights that lose half every `HALF_LIFE_DAYS` before the user's last
    unit: sparse.csc_array  # users x items, weights without decay, columns of (shrunk) length 1
    popularity: Vector  # in [0, 1]
    freshness: Vector  # in [0, 1]: rank of the publication time

    def recommend(
        self,
        user: str,
        count: int,
        *,
        related_to: Sequence[str] = (),
        allowed: Callable[[Fields], bool] = lambda _: True,
    ) -> list[Pick]:
        """The best items for a user, or related to some items, without those that the user has seen.

        Args:
            user: known or not; an unknown one gets what is popular, then what is new.
            count: how many at most.
            related_to: ids of items to find similar ones for.
            allowed: decides by an item's fields.
        """
        if not self.items or count < 1:
            return []
        row = self.users.get(user)
        blocked = np.zeros(len(self.items), dtype=bool)
        taste = np.zeros(len(self.items))
        if row is not None:
            blocked |= self.seen[[row]].toarray()[0] > 0
            taste += self.interest[[row]].toarray()[0]
        index = {item: position for position, item in enumerate(self.items)}
        known = [index[item] for item in related_to if item in index]
        if known:
            taste = np.zeros(len(self.items))
            taste[known] = 1.0
            blocked[known] = True
        # Cosine with every item of the taste at once, without building the item x item matrix.
        similar = np.asarray(self.unit.T @ (self.unit @ taste)).ravel()
        score = similar / similar.max() if similar.max() > 0 else np.zeros(len(self.items))
        # The fallbacks stay below whatever similarity found, and freshness below popularity.
        total = np.where(
            score > 0, 1.0 + score, np.where(self.popularity > 0, self.popularity, self.freshness * 1e-3)
        )
        picks = []
        for position in np.lexsort((np.arange(len(self.items)), -total)):
            if blocked[position] or not allowed(self.fields[position]):
                continue
            recall = "i2i" if score[position] > 0 else "hot" if self.popularity[position] > 0 else "new"
            weight = total[position] / 2.0
            item_type = str(self.fields[position].get("item_type", ""))
            picks.append(Pick(self.items[position], item_type, round(float(weight), 6), recall))
            if len(picks) == count:
                break
        return picks


def learn(items: Mapping[str, Fields], behaviors: Iterable[Fields]) -> Model:
    """Learns from the item table (by item id) and the behaviours; ones on unknown items are left out."""
    names = sorted(items)
    columns = {name: position for position, name in enumerate(names)}
    rows: dict[str, int] = {}
    user_of: list[int] = []
    item_of: list[int] = []
    weights: list[float] = []
    times: list[float] = []
    for behavior in behaviors:
        column = columns.get(str(behavior["item_id"]))
        kind = str(behavior["bhv_type"])
        if column is None or not (kind in BEHAVIOR_WEIGHTS or kind in NEGATIVE):
            continue
        user = str(behavior.get("user_id") or behavior.get("imei"))
        user_of.append(rows.setdefault(user, len(rows)))
        item_of.append(column)
        weights.append(BEHAVIOR_WEIGHTS.get(kind, 0.0))
        times.append(float(behavior["bhv_time"]))
    shape = (max(len(rows), 1), len(names))
    moments = np.asarray(times, dtype=np.float64)
    strengths = np.asarray(weights, dtype=np.float64)
    whole = sparse.csr_array((strengths, (user_of, item_of)), shape=shape)
    interest = sparse.csr_array((strengths * _recency(moments, np.asarray(user_of)), (user_of, item_of)), shape=shape)
    seen = sparse.csr_array((np.ones(len(times)), (user_of, item_of)), shape=shape)
    # What is popular changes within the time that the log spans, however long that is.
    span = float(np.ptp(moments)) if len(times) else 0.0
    half_life = max(HALF_LIFE_DAYS * _DAY, span / 4)
    trend = strengths * np.exp2((moments - moments.max(initial=0.0)) / half_life)
    popularity = np.bincount(np.asarray(item_of, dtype=np.intp), weights=trend, minlength=len(names))
    return Model(
        items=names,
        fields=[items[name] for name in names],
        users=rows,
        seen=seen,
        interest=interest,
        unit=_unit_columns(whole),
        popularity=_scaled(np.log1p(popularity)),
        freshness=_freshness([items[name] for name in names]),
    )


def _recency(moments: Vector, users: npt.NDArray[np.int_]) -> Vector:
    """Factors in (0, 1]: age counts from each user's own last behaviour, so nobody's taste is forgotten whole."""
    if not len(moments):
        return moments
    last = np.full(int(users.max()) + 1, -np.inf)
    np.maximum.at(last, users, moments)
    return np.asarray(np.exp2((moments - last[users]) / (HALF_LIFE_DAYS * _DAY)), dtype=np.float64)


def _unit_columns(interest: sparse.csr_array) -> sparse.csc_array:
    """Columns of shrunk length 1, after damping users who dealt with very many items."""
    deals = np.maximum(np.diff(interest.indptr), 1)
    damped = sparse.diags_array(1.0 / np.sqrt(deals)) @ interest
    damped.data = np.log1p(damped.data)
    lengths = np.asarray(damped.multiply(damped).sum(axis=0)).ravel()
    shrink = SHRINKAGE * float(damped.data.mean()) ** 2 if damped.nnz else 1.0
    return sparse.csc_array(damped @ sparse.diags_array(1.0 / np.sqrt(lengths + shrink)))


def _freshness(fields: Sequence[Fields]) -> Vector:
    times = np.asarray([_number(row.get("pub_time")) for row in fields])
    if not len(times):
        return times
    order = np.argsort(np.argsort(times, kind="stable"), kind="stable")
    return np.asarray((order + 1) / len(times), dtype=np.float64)


def _scaled(values: Vector) -> Vector:
    highest = float(values.max()) if len(values) else 0.0
    return values / highest if highest > 0 and math.isfinite(highest) else values


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
