"""Items that the same users looked at, from interactions that fade with time."""

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.ranking.features import DAY

NEIGHBOURS = 50
"""Kept for each item."""
SHRINKAGE = 2.0
"""Added to the product of norms, so that two items with one user in common aren't taken for twins."""


class ArtifactError(ValueError):
    """A file of the artifact can't be used; the message names it."""


class Collaborative:
    """Neighbours of each item.

    Attributes:
        items: Item ids, in the order of rows and columns.
        neighbours: Similarity of items, shape [items, items], `NEIGHBOURS` a row.
        counts: Decayed number of interactions of each item.
    """

    def __init__(self, items: Sequence[str], neighbours: sparse.csr_array, counts: npt.NDArray[np.float64]) -> None:
        self.items = list(items)
        self.neighbours = neighbours
        self.counts = counts
        self._rows = {item: row for row, item in enumerate(self.items)}

    @classmethod
    def build(
        cls, events: Iterable[tuple[str, str, float, float]], now: float, half_life_days: float
    ) -> "Collaborative":
        """Counts what the same users looked at.

        Interactions weigh less the older they are; the similarity of two items is their cosine over users.

        Args:
            events: User id, item id, seconds since 1970, weight.
            now: Seconds since 1970.
            half_life_days: Age at which an interaction counts half in `counts`; in the similarity it is four times
                that, since which items go together changes more slowly than what is liked.
        """
        found = list(events)
        users = {user: row for row, user in enumerate(dict.fromkeys(user for user, *_ in found))}
        items = {item: row for row, item in enumerate(sorted({item for _, item, *_ in found}))}
        rows = np.array([users[user] for user, *_ in found], dtype=np.int64)
        columns = np.array([items[item] for _, item, *_ in found], dtype=np.int64)
        ages = np.maximum(0.0, now - np.array([time for *_, time, _ in found])) / DAY
        weights = np.array([weight for *_, weight in found], dtype=np.float64)
        counts = np.zeros(len(items))
        np.add.at(counts, columns, weights * np.exp2(-ages / half_life_days))
        decayed = weights * np.exp2(-ages / (4 * half_life_days))
        matrix = sparse.csr_array((decayed, (rows, columns)), shape=(len(users), len(items)))
        matrix.data = np.log1p(matrix.data)
        return cls(list(items), _neighbours(matrix), counts)

    @classmethod
    def load(cls, path: str | Path) -> "Collaborative":
        """Reads what `save` wrote.

        Raises:
            ArtifactError: The file isn't there or isn't such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                size = len(file["items"])
                neighbours = sparse.csr_array((file["values"], file["indices"], file["indptr"]), shape=(size, size))
                return cls([str(item) for item in file["items"]], neighbours, file["counts"])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"{path}: is no file of collaborative neighbours: {error}") from error

    def save(self, path: str | Path) -> None:
        """Writes `collaborative.npz`."""
        with Path(path).open("wb") as file:
            np.savez_compressed(
                file,
                items=np.array(self.items, dtype=np.str_),
                indptr=self.neighbours.indptr,
                indices=self.neighbours.indices,
                values=self.neighbours.data.astype(np.float32),
                counts=self.counts,
            )

    def scores(self, history: Sequence[tuple[str, float]]) -> dict[str, float]:
        """Scores of the neighbours of what a user looked at.

        Args:
            history: Item ids and weights (decay times event weight); unknown items count nothing.

        Returns:
            Item id to score in [0, 1]; items without a common user aren't in it, those of the history may be.
        """
        known = [(self._rows[item], weight) for item, weight in history if item in self._rows and weight > 0]
        total = sum(weight for _, weight in known)
        if not total:
            return {}
        rows = np.array([row for row, _ in known])
        weights = np.array([weight for _, weight in known]) / total
        found = weights @ self.neighbours[rows]
        return {self.items[column]: float(found[column]) for column in np.flatnonzero(found)}

    def popular(self, count: int) -> list[tuple[str, float]]:
        """The most popular items with their decayed counts: what an unknown user gets."""
        order = np.argsort(-self.counts, kind="stable")[:count]
        return [(self.items[row], float(self.counts[row])) for row in order]


def _neighbours(matrix: sparse.csr_array) -> sparse.csr_array:
    products = sparse.csr_array(matrix.T @ matrix)
    norms = np.sqrt(products.diagonal())
    products.setdiag(0.0)
    products.eliminate_zeros()
    pairs = products.tocoo()
    # log1p(1)^2 = .48 is what one user with one interaction gives: shrinkage is in such units.
    values = pairs.data / (norms[pairs.row] * norms[pairs.col] + SHRINKAGE * 0.48)
    similar = sparse.csr_array((values, (pairs.row, pairs.col)), shape=products.shape)
    indptr, indices, data = [0], [], []
    for row in range(similar.shape[0]):
        columns = similar.indices[similar.indptr[row] : similar.indptr[row + 1]]
        found = similar.data[similar.indptr[row] : similar.indptr[row + 1]]
        order = np.lexsort((columns, -found))[:NEIGHBOURS]
        order = order[np.argsort(columns[order])]
        indices.append(columns[order])
        data.append(found[order])
        indptr.append(indptr[-1] + len(order))
    if not indices:
        return sparse.csr_array((0, 0), dtype=np.float64)
    return sparse.csr_array((np.concatenate(data), np.concatenate(indices), np.array(indptr)), shape=similar.shape)
