"""Every setting of a training run, validated; their canonical JSON is part of the run's digest."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ParameterError(ValueError):
    """A training parameter is unknown or out of range; the message names it."""


class TrainingParameters(BaseModel):
    """Settings of `python -m model.train`. The defaults suit a small encoder on two CPU cores."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seed: int = Field(default=7, ge=0)
    """Source of all chance: order of pairs, dropout, sampled negatives."""
    epochs: int = Field(default=1, ge=1, le=100)
    max_steps: int = Field(default=0, ge=0)
    """Stop after so many steps; 0: the epochs decide."""
    max_seconds: int = Field(default=0, ge=0)
    """Stop the embedding's training after so many seconds; 0: no limit. A run that stops by it isn't reproducible."""
    max_pairs: int = Field(default=2_000, ge=32)
    """Train on at most so many pairs, drawn from each kind in proportion."""
    batch_size: int = Field(default=32, ge=2, le=4_096)
    max_length: int = Field(default=128, ge=8, le=8_192)
    """Longest text in tokens, in training and serving alike; also bounded by the base model."""
    learning_rate: float = Field(default=1.5e-4, gt=0, le=1)
    warmup: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    scale: float = Field(default=20.0, gt=0, le=1_000)
    """Factor on cosines before the softmax (the inverse of the temperature)."""
    co_interaction_share: float = Field(default=0.1, ge=0, le=1)
    """At most this share of the pairs come from items that the same users looked at in one sitting."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 where it is faster: on GPUs, and on processors with AMX."""
    patience: int = Field(default=3, ge=1)
    """Stop after so many evaluations without a better validation metric."""
    evaluations: int = Field(default=2, ge=1, le=100)
    """How often to evaluate on validation queries while training."""
    half_life_days: float = Field(default=30.0, gt=0)
    """Age at which an interaction counts half, in the history vector and the collaborative neighbours."""

    def canonical(self) -> str:
        """JSON with sorted keys, equal for equal settings."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def read_parameters(given: str | None) -> TrainingParameters:
    """Reads parameters from JSON text, or from a file that holds it.

    Args:
        given: `{...}`, or a path, or None for the defaults.

    Raises:
        ParameterError: Not JSON, no such file, an unknown key or a value out of range.
    """
    if given is None:
        return TrainingParameters()
    if not given.lstrip().startswith("{"):
        try:
            given = Path(given).read_text(encoding="utf-8")
        except OSError as error:
            raise ParameterError(f"training parameters: {given}: {error.strerror or error}") from None
    try:
        return TrainingParameters.model_validate_json(given)
    except ValidationError as error:
        raise ParameterError(
            "training parameters: " + "; ".join(_line(detail) for detail in error.errors())
        ) from None


def _line(detail: object) -> str:
    assert isinstance(detail, dict)
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown key '{name}' (known: {', '.join(sorted(TrainingParameters.model_fields))})"
    return f"'{name}': {detail['msg']}" if name else str(detail["msg"])
