"""Small artifacts of a release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from model.ranking.collaborative import Collaborative
from model.ranking.features import FEATURES
from model.ranking.ranker import Ranker


def write_artifacts(folder: Path, items: Sequence[str], version: str = "m1") -> None:
    """Writes a ranker that adds all signals up, and neighbours: each item's are those before and after it.

    The first item is the most popular one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count, features = len(items), len(FEATURES)
    ranker = Ranker(FEATURES, np.ones(features), np.zeros(features), np.ones(features), version)
    ranker.save(folder / "ranker.json")
    similar = sparse.csr_array(np.eye(count, k=1) + np.eye(count, k=-1))
    Collaborative(items, similar, np.arange(count, 0, -1, dtype=np.float64)).save(folder / "collaborative.npz")
