import math

import numpy as np

from model.ranking.lexical import LexicalIndex, hybrid, words


def test_words() -> None:
    assert words("Seals, seal; GLASS q# a_b") == ["seal", "seal", "glass", "q", "a", "b"]


def test_scores_are_those_of_lucene() -> None:
    # idf = ln(1 + (2 - 1 + .5) / (1 + .5)), tf = 1 / (1 + 1.2 * (.25 + .75 * 2 / 1.5))
    scores = LexicalIndex(["vask dreb", "kneed"]).scores("vask?")
    assert scores[0] == np.float64(math.log(2) / (1 + 1.2 * (0.25 + 0.75 * 2 / 1.5)))
    assert scores[1] == 0


def test_unknown_words_and_no_texts() -> None:
    assert LexicalIndex(["a"]).scores("b").tolist() == [0]
    assert LexicalIndex([]).scores("b").tolist() == []
    assert LexicalIndex(["", "!"]).scores("b").tolist() == [0, 0]


def test_the_hybrid_is_a_weighted_sum_of_scaled_scores() -> None:
    found = hybrid(np.array([0.0, 2.0, 4.0]), np.array([0.9, 0.1, 0.5]), (0.3, 0.7))
    np.testing.assert_allclose(found, [0.7, 0.0, 0.3 + 0.35])
