"""A linear ranker: signals in, one score out, in a JSON file that a person can read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.ranking.collaborative import ArtifactError
from model.ranking.features import FEATURES

FORMAT = 1


@dataclass(frozen=True)
class Ranker:
    """Weights of standardised signals.

    Attributes:
        names: Signals, in the order of columns.
        weights: One for each signal.
        means: Subtracted from the signals.
        scales: The signals are divided by these.
        version: Version of the artifact it belongs to.
    """

    names: tuple[str, ...]
    weights: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]
    version: str

    @classmethod
    def load(cls, path: str | Path) -> "Ranker":
        """Reads `ranker.json`.

        Raises:
            ArtifactError: The file isn't there, is malformed, or knows other signals than this code.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ArtifactError(f"{path}: has format {content['format']}, this code reads {FORMAT}")
            signals = content["signals"]
            names = tuple(str(signal["name"]) for signal in signals)
            weights, means, scales = (
                np.array([float(signal[key]) for signal in signals]) for key in ("weight", "mean", "scale")
            )
            version = str(content["version"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(f"{path}: is no ranker: {error}") from error
        if names != FEATURES:
            raise ArtifactError(f"{path}: has signals {', '.join(names)}, this code computes {', '.join(FEATURES)}")
        return cls(names, weights, means, scales, version)

    def save(self, path: str | Path) -> None:
        """Writes `ranker.json`."""
        signals = [
            {"name": name, "weight": float(weight), "mean": float(mean), "scale": float(scale)}
            for name, weight, mean, scale in zip(self.names, self.weights, self.means, self.scales, strict=True)
        ]
        content = {"format": FORMAT, "version": self.version, "signals": signals}
        Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def contributions(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What each signal adds to the score; a missing signal adds 0.

        Args:
            features: From `feature_matrix`, shape [candidates, features].

        Returns:
            The same shape; the rows' sums are the scores.
        """
        parts: npt.NDArray[np.float64] = np.nan_to_num((features - self.means) / self.scales, nan=0.0) * self.weights
        return parts

    def score(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Scores of candidates, higher is better, shape [candidates]."""
        total: npt.NDArray[np.float64] = self.contributions(features).sum(axis=1)
        return total


def standardise(
    rows: Sequence[npt.NDArray[np.float64]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and scale of each signal where it is there; 0 and 1 for one that never is."""
    stacked = np.concatenate(rows) if rows else np.zeros((0, len(FEATURES)))
    there = ~np.isnan(stacked)
    counts = np.maximum(there.sum(axis=0), 1)
    means = np.where(there, stacked, 0.0).sum(axis=0) / counts
    spread = np.sqrt(np.where(there, (stacked - means) ** 2, 0.0).sum(axis=0) / counts)
    return means, np.where(spread > 1e-9, spread, 1.0)
