import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.ranking import FEATURES, ArtifactError, Ranker, feature_matrix

COUNT = len(FEATURES)


def ranker() -> Ranker:
    return Ranker(FEATURES, np.arange(1.0, COUNT + 1), np.full(COUNT, 0.5), np.full(COUNT, 2.0), "abc")


def test_a_missing_signal_is_neutral() -> None:
    features = feature_matrix(2, {"history": [0.5, 1.0]})
    np.testing.assert_allclose(ranker().score(features), [0.0, 0.25 * (FEATURES.index("history") + 1)])
    np.testing.assert_allclose(ranker().contributions(features).sum(axis=1), ranker().score(features))


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    ranker().save(tmp_path / "r.json")
    loaded = Ranker.load(tmp_path / "r.json")
    features = np.random.default_rng(0).random((5, COUNT))
    np.testing.assert_array_equal(loaded.score(features), ranker().score(features))
    assert loaded.version == "abc"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, this code reads 1"),
        ({"signals": []}, "has signals , this code computes retrieval"),
        ({"signals": [{"name": "x"}]}, "is no ranker"),
        ({"version": None, "signals": 3}, "is no ranker"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "r.json"
    ranker().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=f"r.json: {message}"):
        Ranker.load(path)


def test_the_service_needs_no_torch() -> None:
    code = "import sys, model.ranking, model.data; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
