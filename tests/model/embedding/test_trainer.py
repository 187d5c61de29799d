import math
from pathlib import Path

import pytest
import torch

from model.embedding import trainer
from model.embedding.base import BaseModel
from model.embedding.encoder import Encoder
from model.embedding.pairs import Pair
from model.embedding.trainer import TrainingError, contrast, train
from model.parameters import TrainingParameters

PAIRS = [Pair(f"vask {n}", f"kneed {n} dreb", "title", None, str(n)) for n in range(64)]
PARAMETERS = TrainingParameters(batch_size=8, epochs=2, learning_rate=1e-3, precision="float32")


def weights(encoder: Encoder) -> torch.Tensor:
    return torch.cat([value.flatten() for value in encoder.model.state_dict().values()])


class Killed(Exception):  # noqa: N818  # stands for a signal
    pass


def run(base: BaseModel, folder: Path, kill_at: int = 0, identity: str = "a") -> tuple[Encoder, list[str]]:
    encoder = Encoder.load(base.path)
    lines: list[str] = []
    steps = 0
    forward = encoder.forward

    def counted(tokens: list[list[int]]) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if kill_at and steps > 2 * kill_at:
            raise Killed
        return forward(tokens)

    encoder.forward = counted  # type: ignore[method-assign, assignment]  # a kill in the middle of a step
    train(encoder, PAIRS, None, PARAMETERS, folder, identity, lines.append)
    return encoder, lines


def test_a_run_that_was_killed_goes_on_exactly(
    tiny_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    whole, _ = run(tiny_base, tmp_path / "whole")
    with pytest.raises(Killed):
        run(tiny_base, tmp_path / "killed", kill_at=5)
    resumed, lines = run(tiny_base, tmp_path / "killed")
    assert lines[0] == "continuing at step 5 of 16"
    assert torch.equal(weights(whole), weights(resumed))


def test_a_checkpoint_of_another_run_is_not_continued(
    tiny_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Killed):
        run(tiny_base, tmp_path, kill_at=5)
    _, lines = run(tiny_base, tmp_path, identity="b")
    assert not lines[0].startswith("continuing")


def test_a_loss_that_is_no_number_keeps_the_checkpoint(
    tiny_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    calls = 0

    def broken(anchors: torch.Tensor, positives: torch.Tensor, scale: float) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return contrast(anchors, positives, scale) * (math.nan if calls == 3 else 1)

    monkeypatch.setattr(trainer, "contrast", broken)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 3: lower learning_rate; the last checkpoint"):
        train(Encoder.load(tiny_base.path), PAIRS, None, PARAMETERS, tmp_path, "a", lambda line: None)
    assert (tmp_path / "state.pt").is_file()


class Falling:
    """A validation that only gets worse."""

    def __init__(self) -> None:
        self.value = 1.0

    def measure(self, encoder: Encoder) -> float:
        self.value /= 2
        return self.value


def test_what_is_worse_than_the_base_is_not_kept(tiny_base: BaseModel, tmp_path: Path) -> None:
    encoder = Encoder.load(tiny_base.path)
    before = weights(encoder).clone()
    parameters = PARAMETERS.model_copy(update={"patience": 2, "evaluations": 8})
    outcome = train(encoder, PAIRS, Falling(), parameters, tmp_path, "a", lambda line: None)  # type: ignore[arg-type]  # same method
    assert (outcome.stopped, outcome.progress.step, outcome.progress.best_step) == ("early stop", 4, 0)
    assert torch.equal(weights(encoder), before)
    assert outcome.trained == outcome.base == 0.5


def test_the_loss_of_perfect_vectors_is_small() -> None:
    vectors = torch.eye(4)
    assert float(contrast(vectors, vectors, 20.0)) < 1e-6
    assert float(contrast(vectors, vectors.roll(1, 0), 20.0)) > 19


def test_bfloat16_comes_near(tiny_base: BaseModel, tmp_path: Path) -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        lines: list[str] = []
        parameters = TrainingParameters(
            batch_size=8, epochs=1, precision="bfloat16" if precision == "bfloat16" else "float32"
        )
        train(Encoder.load(tiny_base.path), PAIRS, None, parameters, tmp_path / precision, "a", lines.append)
        losses.append(float(lines[-1].split("loss ")[1].split()[0]))
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
