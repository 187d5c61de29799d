"""BM25 in memory, for training the ranker and for evaluation where no search engine is at hand."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.ranking.features import min_max

K1, B = 1.2, 0.75
"""Lucene's defaults."""


class LexicalIndex:
    """BM25 as Lucene computes it, over lower-cased words."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words(text)) for text in texts]
        self._columns: dict[str, int] = {}
        rows, columns, values = [], [], []
        for row, found in enumerate(counts):
            for word, count in found.items():
                rows.append(row)
                columns.append(self._columns.setdefault(word, len(self._columns)))
                values.append(count)
        lengths = np.array([sum(found.values()) for found in counts], dtype=np.float64)
        average = float(lengths.mean()) if len(lengths) and lengths.mean() else 1.0
        frequency = np.array(values, dtype=np.float64)
        row_index, column_index = np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)
        documents = np.bincount(column_index, minlength=len(self._columns)) if columns else np.zeros(0)
        idf = np.log1p((len(texts) - documents + 0.5) / (documents + 0.5))
        norm = K1 * (1 - B + B * lengths[row_index] / average) if rows else frequency
        weights = idf[column_index] * frequency / (frequency + norm) if rows else frequency
        self._matrix = sparse.csr_array((weights, (row_index, column_index)), shape=(len(texts), len(self._columns)))

    def scores(self, query: str) -> npt.NDArray[np.float64]:
        """Score of every text for a query, shape [texts]."""
        vector = np.zeros(len(self._columns))
        for word in words(query):
            column = self._columns.get(word)
            if column is not None:
                vector[column] += 1
        return np.asarray(self._matrix @ vector, dtype=np.float64)


def words(text: str) -> list[str]:
    """Lower-cased words, with the English plural s taken off."""
    return [
        w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in _WORD.findall(text.lower())
    ]


def hybrid(
    lexical: npt.NDArray[np.float64], semantic: npt.NDArray[np.float64], weights: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Scores as the search pipeline combines them: the best hundred of each, min-max, weighted sum.

    Args:
        lexical: BM25 of every item.
        semantic: Cosine of every item.
        weights: Of the two; they sum to 1.
    """
    total = np.zeros(len(lexical))
    for scores, weight in ((lexical, weights[0]), (semantic, weights[1])):
        best = np.argsort(-scores, kind="stable")[:100]
        best = best[scores[best] > 0]
        if len(best):
            total[best] += weight * min_max(scores[best])
    return total


_WORD = re.compile(r"[^\W_]+")
