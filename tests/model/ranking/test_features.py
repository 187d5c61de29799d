import numpy as np
import pytest

from model.ranking import FEATURES, decay, feature_matrix, freshness, history_vector, min_max, popularity

DAY = 86_400.0


def test_missing_signals_are_nan() -> None:
    matrix = feature_matrix(2, {"history": [0.1, 0.2], "airec": None})
    assert matrix.shape == (2, len(FEATURES))
    np.testing.assert_array_equal(matrix[:, FEATURES.index("history")], [0.1, 0.2])
    assert np.isnan(np.delete(matrix, FEATURES.index("history"), axis=1)).all()


@pytest.mark.parametrize(
    ("signals", "message"), [({"colour": [1.0]}, "unknown signal 'colour'"), ({"history": [1.0, 2.0]}, "shape")]
)
def test_wrong_signals_are_refused(signals: dict[str, list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        feature_matrix(1, signals)


def test_decay_halves() -> None:
    np.testing.assert_allclose(decay([10 * DAY, 0.0, 20 * DAY], 10 * DAY, 10.0), [1.0, 0.5, 1.0])


def test_the_history_vector_follows_the_latest() -> None:
    vector = history_vector(np.eye(2), [0.0, 30 * DAY], 1e9, half_life_days=30.0)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, np.array([0.5, 1.0]) / np.sqrt(1.25), rtol=1e-6)


def test_no_history_is_zero() -> None:
    np.testing.assert_array_equal(history_vector(np.zeros((0, 3)), [], 0.0), np.zeros(3))
    np.testing.assert_array_equal(history_vector([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0], 0.0), np.zeros(2))


def test_scales() -> None:
    np.testing.assert_allclose(popularity([0, 1, 3]), [0, 0.5, 1])
    np.testing.assert_allclose(popularity([0, 0]), [0, 0])
    np.testing.assert_allclose(freshness([90 * DAY, 0.0, np.nan], 90 * DAY), [1, 0.5, np.nan])
    np.testing.assert_allclose(min_max([3, 1, 2]), [1, 0, 0.5])
    np.testing.assert_allclose(min_max([3, 3]), [1, 1])
    assert min_max([]).size == 0
