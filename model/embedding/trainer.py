"""Contrastive training of an encoder, which goes on after a kill as if nothing had happened."""

import io
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.embedding.batches import plan_batches
from model.embedding.encoder import Encoder
from model.embedding.pairs import Pair
from model.embedding.validation import Validation
from model.parameters import TrainingParameters

CHECKPOINT_SECONDS = float(os.environ.get("RAGREC_CHECKPOINT_SECONDS", "20"))
"""A checkpoint is written at the first step after so many seconds."""
REPORT_SECONDS = 3.0


class TrainingError(RuntimeError):
    """Training can't go on; the message says why and where the checkpoint is."""


@dataclass(slots=True)
class Progress:
    """Where a run is; part of the checkpoint.

    Attributes:
        step: Steps done.
        pairs: Pairs seen.
        seconds: Time spent in steps, over all starts of the run.
        best: Best validation metric.
        best_step: Its step; 0 is the base model.
        stale: Evaluations since then.
        losses: Mean loss between evaluations.
        history: Step and metric of each evaluation.
    """

    step: int = 0
    pairs: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    best_step: int = 0
    stale: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training came to. The encoder holds the weights of `best_step`.

    Attributes:
        progress: Its end.
        steps: Steps planned.
        base: Validation metric of the base model; None without validation.
        trained: Validation metric of the weights kept; None without validation.
        stopped: Why it ended: `done`, `early stop` or `time limit`.
    """

    progress: Progress
    steps: int
    base: float | None
    trained: float | None
    stopped: str


def contrast(anchors: Tensor, positives: Tensor, scale: float) -> Tensor:
    """Cross-entropy of finding each anchor's positive among all of the batch, and the reverse (InfoNCE).

    Args:
        anchors: Vectors of length 1, shape [pairs, dimension].
        positives: The same, in the same order.
        scale: Factor on the cosines.
    """
    scores = anchors @ positives.T * scale
    targets = torch.arange(len(scores), device=scores.device)
    return (nn.functional.cross_entropy(scores, targets) + nn.functional.cross_entropy(scores.T, targets)) / 2


def train(
    encoder: Encoder,
    pairs: Sequence[Pair],
    validation: Validation | None,
    parameters: TrainingParameters,
    folder: Path,
    identity: str,
    report: Callable[[str], None],
) -> Outcome:
    """Trains the encoder in place.

    Args:
        encoder: The base model.
        pairs: What to learn.
        validation: What to stop by; None trains all steps.
        parameters: Settings.
        folder: Where checkpoints are; a checkpoint of the same run there is continued.
        identity: Names the run: a checkpoint of another one is not continued.
        report: Gets a line now and then.

    Raises:
        TrainingError: The loss is not a number, or all pairs contradict each other.
        OSError: A checkpoint can't be written.
    """
    run = _Run(encoder, pairs, parameters, folder, identity)
    if run.resume():
        report(f"continuing at step {run.progress.step} of {run.steps}")
    elif validation:
        run.judge(validation.measure(encoder), base=True)
        report(f"validation nDCG@10 of the base model: {run.progress.best:.4f}")
    every = max(1, math.ceil(run.steps / parameters.evaluations))
    started = reported = saved = time.monotonic()
    before = run.progress.seconds
    window: list[float] = []
    stopped = "done"
    while run.progress.step < run.steps:
        loss = run.advance()
        window.append(loss)
        now = time.monotonic()
        run.progress.seconds = before + now - started
        if now - reported > REPORT_SECONDS or run.progress.step == run.steps:
            reported = now
            report(_line(run.progress, run.steps, sum(window) / len(window)))
            window.clear()
        if validation and (run.progress.step % every == 0 or run.progress.step == run.steps):
            metric = validation.measure(encoder)
            run.judge(metric)
            report(f"validation nDCG@10 at step {run.progress.step}: {metric:.4f} (best {run.progress.best:.4f})")
            # Time for evaluation isn't training time.
            started += time.monotonic() - now
            if run.progress.stale >= parameters.patience:
                stopped = "early stop"
                break
        if parameters.max_seconds and run.progress.seconds >= parameters.max_seconds:
            stopped = "time limit"
            break
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            run.save()
            saved = time.monotonic()
    if validation and stopped == "time limit" and run.progress.history[-1][0] != run.progress.step:
        run.judge(validation.measure(encoder))
    run.keep_best(validation is not None)
    history = run.progress.history
    return Outcome(
        run.progress,
        run.steps,
        base=history[0][1] if history else None,
        trained=run.progress.best if history else None,
        stopped=stopped,
    )


class _Run:
    """The changing parts of training: weights, optimiser, chance, progress."""

    def __init__(
        self, encoder: Encoder, pairs: Sequence[Pair], parameters: TrainingParameters, folder: Path, identity: str
    ) -> None:
        self.encoder, self.parameters, self.folder, self.identity = encoder, parameters, folder, identity
        self.progress = Progress()
        self._anchors = encoder.tokenize([pair.anchor for pair in pairs], "query")
        self._positives = encoder.tokenize([pair.positive for pair in pairs], "document")
        lengths = [max(len(a), len(p)) for a, p in zip(self._anchors, self._positives, strict=True)]
        self._batches = [
            batch
            for epoch in range(parameters.epochs)
            for batch in plan_batches(pairs, lengths, parameters.batch_size, parameters.seed, epoch)
        ]
        self.steps = len(self._batches)
        if parameters.max_steps:
            self.steps = min(self.steps, parameters.max_steps)
        if not self.steps:
            raise TrainingError("no batch of at least two pairs with different documents can be formed")
        torch.manual_seed(parameters.seed)
        decayed = [p for p in encoder.model.parameters() if p.ndim > 1]
        plain = [p for p in encoder.model.parameters() if p.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": parameters.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=parameters.learning_rate,
        )
        self._bfloat16 = wants_bfloat16(parameters, encoder.device)
        self._best: dict[str, Tensor] | None = None

    def advance(self) -> float:
        """One step; returns its loss."""
        progress = self.progress
        batch = self._batches[progress.step]
        for group in self._optimizer.param_groups:
            group["lr"] = self.parameters.learning_rate * self._warmth(progress.step)
        # The model stays in evaluation mode: over a few hundred steps dropout brings nothing and costs a fifth.
        model = self.encoder.model
        with torch.autocast(self.encoder.device.type, torch.bfloat16, enabled=self._bfloat16):
            anchors = self.encoder.forward([self._anchors[index] for index in batch])
            positives = self.encoder.forward([self._positives[index] for index in batch])
        loss = contrast(anchors, positives, self.parameters.scale)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {progress.step + 1}: lower learning_rate"
                + (" or set precision to float32" if self._bfloat16 else "")
                + (f"; the last checkpoint is kept in {self.folder}" if self._state.is_file() else "")
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch doesn't type it
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self._optimizer.step()
        progress.step += 1
        progress.pairs += len(batch)
        return value

    def judge(self, metric: float, *, base: bool = False) -> None:
        """Notes a validation metric and keeps the weights when they are the best so far."""
        progress = self.progress
        progress.history.append((progress.step, metric))
        if metric > progress.best:
            progress.best, progress.best_step, progress.stale = metric, progress.step, 0
            self._best = {name: value.detach().clone() for name, value in self.encoder.model.state_dict().items()}
        elif not base:
            progress.stale += 1

    def keep_best(self, validated: bool) -> None:
        """Puts the best weights back into the encoder."""
        if validated and self._best is not None:
            self.encoder.model.load_state_dict(self._best)

    def save(self) -> None:
        """Writes a checkpoint beside the old one and swaps them, so that a kill leaves one or the other."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "identity": self.identity,
            "progress": asdict(self.progress),
            "model": self.encoder.model.state_dict(),
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        writing = self._state.with_suffix(".writing")
        # Through memory, since torch hides the reason when the disk is full.
        content = io.BytesIO()
        torch.save(state, content)
        with writing.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        writing.replace(self._state)

    def resume(self) -> bool:
        """Loads the checkpoint of this run when there is one."""
        if not self._state.is_file():
            return False
        state: dict[str, Any] = torch.load(self._state, map_location=self.encoder.device, weights_only=True)
        if state["identity"] != self.identity:
            return False
        self.encoder.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = state["best"]
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"]:
            torch.cuda.set_rng_state_all([value.cpu() for value in state["random_cuda"]])
        progress = state["progress"]
        progress["history"] = [(int(step), float(metric)) for step, metric in progress["history"]]
        self.progress = Progress(**progress)
        return True

    @property
    def _state(self) -> Path:
        return self.folder / "state.pt"

    def _warmth(self, step: int) -> float:
        rising = max(1, round(self.steps * self.parameters.warmup))
        if step < rising:
            return (step + 1) / rising
        return max(0.0, (self.steps - step) / max(1, self.steps - rising))


def wants_bfloat16(parameters: TrainingParameters, device: torch.device) -> bool:
    """Whether to compute in bfloat16: as asked, or by `auto` where matrices multiply faster in it.

    On a processor that takes AMX: with AVX-512 alone a step in bfloat16 was measured at 1.6 times that in float32."""
    if parameters.precision != "auto":
        return parameters.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _line(progress: Progress, steps: int, loss: float) -> str:
    rate = progress.pairs / progress.seconds if progress.seconds else 0.0
    left = round(progress.seconds / progress.step * (steps - progress.step))
    return f"step {progress.step}/{steps} loss {loss:.4f} {rate:.1f} pairs/s {left // 60}:{left % 60:02} left"
