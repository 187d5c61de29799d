"""Batches for in-batch negatives: alike in length, and never with two answers of one question."""

import random
from collections.abc import Sequence

from model.embedding.pairs import Pair

CHUNK = 16
"""Pairs are sorted by length within so many batches: enough to save padding, few enough to stay random."""


def plan_batches(
    pairs: Sequence[Pair], lengths: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Indices of the pairs of each batch of an epoch; equal arguments give equal plans.

    Pairs of a batch have different anchors and different documents, since each pair's positive is a negative for all
    others. A pair that fits into no batch of its chunk waits for the next chunk. A last batch of one pair is left
    out, as it has no negatives.

    Args:
        pairs: All pairs.
        lengths: Tokens of each pair.
        batch_size: Pairs a batch.
        seed: Source of chance.
        epoch: Number of the epoch; each has another order.
    """
    chance = random.Random(f"{seed} {epoch}")
    order = list(range(len(pairs)))
    chance.shuffle(order)
    batches: list[list[int]] = []
    waiting: list[int] = []
    for start in range(0, len(order), batch_size * CHUNK):
        chunk = waiting + order[start : start + batch_size * CHUNK]
        chunk.sort(key=lambda index: lengths[index])
        full, waiting = _fill(pairs, chunk, batch_size)
        batches.extend(full)
    while waiting:
        full, waiting = _fill(pairs, waiting, batch_size, rest=True)
        batches.extend(batch for batch in full if len(batch) > 1)
    chance.shuffle(batches)
    return batches


def _fill(
    pairs: Sequence[Pair], chunk: Sequence[int], batch_size: int, *, rest: bool = False
) -> tuple[list[list[int]], list[int]]:
    full: list[list[int]] = []
    remaining = list(chunk)
    while remaining and (rest or len(remaining) >= batch_size):
        batch: list[int] = []
        later: list[int] = []
        texts: set[str] = set()
        names: set[str] = set()
        for index in remaining:
            pair = pairs[index]
            own = {pair.positive_id} | ({pair.anchor_id} if pair.anchor_id else set())
            if len(batch) < batch_size and pair.anchor not in texts and not own & names:
                batch.append(index)
                texts.add(pair.anchor)
                names |= own
            else:
                later.append(index)
        if len(batch) < batch_size and not rest:
            return full, remaining
        full.append(batch)
        remaining = later
    return full, remaining
