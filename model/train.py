"""The training job: `python -m model.train --data DIR --output DIR`.

Exit status: 0 done, 1 failed (run again to continue from the checkpoint), 2 the input can't be trained on.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model.data import DataError, DataSet, open_dataset
from model.data.corpus import Corpus
from model.embedding.base import DEFAULT_BASE, BaseModel, find_base
from model.embedding.card import model_card
from model.embedding.encoder import Encoder, ModelError
from model.embedding.pairs import TooFewPairsError, choose_pairs, count_kinds, mine_pairs
from model.embedding.trainer import Outcome, TrainingError, train
from model.embedding.validation import validation_set
from model.lineage import code_digest, file_digest, training_digest
from model.packaging import PackagingError, package
from model.parameters import ParameterError, TrainingParameters, read_parameters
from model.ranking.training import ItemIndex, fit, judged_items, measure, next_items, summarise

MANIFEST = "MANIFEST.json"
CHECKPOINT = "checkpoint"
HYBRID_WEIGHTS = (0.3, 0.7)
"""Of BM25 and vector in the retrieval signal that the ranker is fitted on: the stack's default."""


def main() -> int:
    """Parses the command line, trains, and turns expected failures into one line and an exit status."""
    parser = argparse.ArgumentParser(prog="python -m model.train", description="Trains the models of a release.")
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="data set: the contract's folder or a known dump"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the artifact")
    parser.add_argument("--parameters", metavar="JSON|FILE", help="training parameters")
    parser.add_argument(
        "--base-model", default=DEFAULT_BASE, metavar="package:NAME|DIR", help="where to start (default: %(default)s)"
    )
    parser.add_argument(
        "--version", metavar="DIGEST", help="name of the artifact (default: computed from the inputs)"
    )
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="processor threads (default: torch's choice)"
    )
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    try:
        parameters = read_parameters(arguments.parameters)
        base = find_base(arguments.base_model)
        run(open_dataset(arguments.data), base, parameters, arguments.output, arguments.version)
    except (DataError, ParameterError, ModelError, TooFewPairsError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except (TrainingError, PackagingError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except OSError as error:
        print(f"error: {error.filename or arguments.output}: {error.strerror or error}", file=sys.stderr, flush=True)
        return 1
    return 0


def run(
    dataset: DataSet,
    base: BaseModel,
    parameters: TrainingParameters,
    output: Path,
    version: str | None = None,
    report: Callable[[str], None] = lambda line: print(line, flush=True),
) -> dict[str, Any]:
    """Makes the artifact: `model/`, `metrics.json`, ranker, neighbours and `custom_emb.mar`.

    MANIFEST.json is written last: a folder with one is complete. One that names the same digest is left as it is.

    Args:
        dataset: What to learn from.
        base: Where to start.
        parameters: Settings.
        output: Folder of the artifact.
        version: Name of the artifact; None computes it from the inputs.
        report: Gets a line now and then; printed at once by default, so that `pulumi up` shows it while the job runs.

    Returns:
        The manifest.

    Raises:
        DataError: The data set has errors.
        ModelError: The base model can't be used.
        TooFewPairsError: There is too little to learn from.
        TrainingError: Training failed; the checkpoint is kept.
        PackagingError: The archive can't be built.
        OSError: The folder can't be written.
    """
    started = time.monotonic()
    digests = {
        "data": dataset.digest,
        "parameters": parameters.canonical(),
        "base": base.digest,
        "code": code_digest(),
    }
    identity = training_digest(**digests)
    version = version or identity
    if (done := _finished(output, identity)) is not None:
        report(f"{output}: already trained ({version[:12]})")
        return done
    (output / MANIFEST).unlink(missing_ok=True)
    for warning in dataset.summary.warnings:
        report(f"warning: {warning}")
    corpus = Corpus.read(dataset)
    pairs = mine_pairs(corpus.documents, corpus.interactions, corpus.queries, corpus.judgments, corpus.split)
    chosen = choose_pairs(pairs, parameters.max_pairs, parameters.co_interaction_share, parameters.seed)
    report(f"{len(corpus.documents):,} documents, {len(pairs):,} pairs, {len(chosen):,} of them used")
    report(", ".join(f"{count:,} {kind}" for kind, count in count_kinds(chosen).items()))
    encoder = Encoder.load(base.path, parameters.max_length)
    validation = validation_set(corpus.documents, corpus.queries, corpus.judgments, corpus.split, parameters.seed)
    output.mkdir(parents=True, exist_ok=True)
    outcome = train(encoder, chosen, validation, parameters, output / CHECKPOINT, identity, report)
    report("writing the model")
    staging = output / ".model"
    shutil.rmtree(staging, ignore_errors=True)
    encoder.save(staging, model_card(base.name, version, count_kinds(chosen), outcome))
    shutil.rmtree(output / "model", ignore_errors=True)
    staging.replace(output / "model")
    report("ranking: vectors, neighbours, weights")
    ranking = _rank(corpus, encoder, parameters, version[:12], output)
    report("packaging custom_emb.mar")
    package(output / "model", version[:12], output)
    metrics = {
        "version": version,
        "split": corpus.split.fingerprint,
        "embedding": _embedding_metrics(outcome, chosen_kinds=count_kinds(chosen)),
        "ranking": ranking,
        "seconds": round(time.monotonic() - started, 1),
    }
    _write(output / "metrics.json", metrics)
    manifest = _manifest(output, version, identity, digests)
    _write(output / MANIFEST, manifest)
    shutil.rmtree(output / CHECKPOINT, ignore_errors=True)
    report(_closing(outcome, metrics))
    return manifest


def _rank(
    corpus: Corpus, encoder: Encoder, parameters: TrainingParameters, version: str, output: Path
) -> dict[str, Any]:
    """Fits and measures the ranker, writes it and the collaborative neighbours of all interactions."""
    index = ItemIndex.build(corpus, encoder.encode(corpus.texts()), parameters.half_life_days)
    split = corpus.split
    past = sorted(i.timestamp for i in corpus.interactions if split.known(i.timestamp))
    if split.validation_from and split.test_from and past:
        # Neighbours from the first half of the past, weights from its second half, measured after the test's start.
        middle = past[len(past) // 2]
        events = next_items(corpus.interactions, middle, split.validation_from, parameters.seed)
        events += judged_items(split.queries(corpus.queries, "validation"), corpus.judgments)
        asked = sorted({event.query for event in events if event.query})
        vectors = dict(zip(asked, encoder.encode(asked, kind="query"), strict=True))
        ranker = fit(index.as_of(middle.timestamp()), events, vectors, HYBRID_WEIGHTS, version, parameters.seed)
        tested = next_items(corpus.interactions, split.test_from, None, parameters.seed)
        metrics = {
            "weights": dict(zip(ranker.names, (round(float(w), 4) for w in ranker.weights), strict=True)),
            "fitted_events": len(events),
            "next_item": summarise(
                measure(index.as_of(split.test_from.timestamp()), ranker, tested), parameters.seed
            ),
        }
    else:
        ranker = fit(index.as_of(0.0), [], {}, HYBRID_WEIGHTS, version, parameters.seed)
        metrics = {"weights": "equal: there are no interactions to learn from"}
    now = max((i.timestamp.timestamp() for i in corpus.interactions), default=0.0)
    _replace(output / "collaborative.npz", index.collaborative(now, inclusive=True).save)
    _replace(output / "ranker.json", ranker.save)
    return metrics


def _embedding_metrics(outcome: Outcome, chosen_kinds: dict[str, int]) -> dict[str, Any]:
    progress = outcome.progress
    return {
        "validation_ndcg@10": {"base": outcome.base, "trained": outcome.trained},
        "pairs": chosen_kinds,
        "steps": progress.step,
        "planned_steps": outcome.steps,
        "best_step": progress.best_step,
        "stopped": outcome.stopped,
        "history": progress.history,
        "seconds": round(progress.seconds, 1),
        "pairs_per_second": round(progress.pairs / progress.seconds, 2) if progress.seconds else None,
    }


def _closing(outcome: Outcome, metrics: dict[str, Any]) -> str:
    quality = ""
    if outcome.base is not None and outcome.trained is not None:
        quality = f"validation nDCG@10 {outcome.base:.3f} -> {outcome.trained:.3f}, "
        if outcome.progress.best_step == 0:
            quality += "no step was better than the base model, which is kept, "
    return f"done: {quality}{metrics['seconds']:.0f} s, version {metrics['version'][:12]}"


def _manifest(output: Path, version: str, identity: str, digests: dict[str, str]) -> dict[str, Any]:
    names = sorted(
        path.relative_to(output).as_posix()
        for path in output.rglob("*")
        if path.is_file() and path.name != MANIFEST and path.relative_to(output).parts[0] != CHECKPOINT
    )
    files = {name: {"sha256": file_digest(output / name), "size": (output / name).stat().st_size} for name in names}
    parts = {**digests, "parameters": json.loads(digests["parameters"])}
    return {"format": 1, "version": version, "digest": identity, "made_of": parts, "files": files}


def _finished(output: Path, identity: str) -> dict[str, Any] | None:
    try:
        manifest = json.loads((output / MANIFEST).read_text(encoding="utf-8"))
        if manifest["digest"] == identity and all((output / name).is_file() for name in manifest["files"]):
            return dict(manifest)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _write(path: Path, content: object) -> None:
    _replace(path, lambda writing: Path(writing).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8"))


def _replace(path: Path, write: Any) -> None:
    writing = path.with_name(f".{path.name}")
    write(writing)
    writing.replace(path)


if __name__ == "__main__":
    sys.exit(main())
