"""`scripts/evaluate`: an artifact against the baselines, on queries and interactions that training never saw."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from model.data import DataError, open_dataset
from model.data.corpus import Corpus
from model.data.records import Query
from model.embedding.base import DEFAULT_BASE, find_base
from model.embedding.encoder import Encoder, ModelError
from model.embedding.pairs import TooFewPairsError
from model.embedding.trainer import TrainingError
from model.evaluation.metrics import bootstrap, ndcg, recall, reciprocal_rank
from model.evaluation.retrieval import grades_of, rank
from model.packaging import PackagingError
from model.parameters import ParameterError, read_parameters
from model.ranking.lexical import LexicalIndex, hybrid
from model.ranking.ranker import Ranker
from model.ranking.training import ItemIndex, measure, next_items
from model.train import HYBRID_WEIGHTS, run

Metric: TypeAlias = Callable[[Sequence[str], Mapping[str, int]], float]
METRICS: dict[str, Metric] = {
    "ndcg@10": lambda ranking, grades: ndcg(ranking, grades, 10),
    "recall@10": lambda ranking, grades: recall(ranking, grades, 10),
    "recall@100": lambda ranking, grades: recall(ranking, grades, 100),
    "mrr@10": lambda ranking, grades: reciprocal_rank(ranking, grades, 10),
}
SEED = 0


@dataclass(frozen=True, slots=True)
class Value:
    """One cell of the report, with its 95 % bootstrap interval over queries or events."""

    system: str
    metric: str
    value: float
    low: float
    high: float
    split: str
    n: int


@dataclass(frozen=True, slots=True)
class Report:
    """What `--json` prints.

    Attributes:
        split: Fingerprint of the split.
        retrieval: Systems on test queries; `split` is `test` or `test:<tag>` for a slice.
        personalisation: Systems on the next item of each user after the test's start.
        gains: Paired differences in nDCG@10: `a - b`.
    """

    split: str
    retrieval: list[Value]
    personalisation: list[Value]
    gains: list[Value]


def evaluate(corpus: Corpus, base: Encoder, trained: Encoder, ranker: Ranker, half_life_days: float) -> Report:
    """Measures everything on the test part of the split.

    Retrieval: BM25, vectors of the base and the trained model, and the hybrid with the default weights of each, over
    all documents. Personalisation: the ranker against popularity, all items ranked, seen ones left out.
    """
    texts = corpus.texts()
    trained_vectors = trained.encode(texts)
    queries = corpus.split.queries(corpus.queries, "test")
    retrieval: list[Value] = []
    gains: list[Value] = []
    if queries:
        lexical = LexicalIndex(texts)
        asked = [query.text for query in queries]
        bm25 = np.array([lexical.scores(text) for text in asked])
        systems = {"bm25": bm25}
        for name, encoder, vectors in (("base", base, base.encode(texts)), ("trained", trained, trained_vectors)):
            cosines = (encoder.encode(asked, kind="query") @ vectors.T).astype(np.float64)
            systems[name] = cosines
            systems[f"hybrid {name}"] = np.array(
                [hybrid(words, meaning, HYBRID_WEIGHTS) for words, meaning in zip(bm25, cosines, strict=True)]
            )
        values = _score(corpus, queries, systems)
        for tag, rows in _slices(queries).items():
            for name, by_metric in values.items():
                retrieval += [_value(name, metric, found[rows], tag) for metric, found in by_metric.items()]
            for first, second in (("trained", "base"), ("hybrid trained", "hybrid base"), ("trained", "bm25")):
                difference = values[first]["ndcg@10"][rows] - values[second]["ndcg@10"][rows]
                gains.append(_value(f"{first} - {second}", "ndcg@10", difference, tag))
    personalisation: list[Value] = []
    if corpus.split.test_from is not None:
        events = next_items(corpus.interactions, corpus.split.test_from, None, SEED)
        if events:
            index = ItemIndex.build(corpus, trained_vectors, half_life_days)
            measured = measure(index.as_of(corpus.split.test_from.timestamp()), ranker, events)
            for name, by in measured.items():
                personalisation += [_value(name, metric, found, "test") for metric, found in by.items()]
            difference = measured["ranker"]["ndcg@10"] - measured["popularity"]["ndcg@10"]
            gains.append(_value("ranker - popularity", "ndcg@10", difference, "test"))
    return Report(corpus.split.fingerprint, retrieval, personalisation, gains)


def main() -> int:
    """Evaluates an artifact; trains one first when none is given."""
    parser = argparse.ArgumentParser(
        prog="scripts/evaluate",
        description="Measure an artifact against the baselines on the test part of a data set.",
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="data set")
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="what model.train wrote (default: train it now)")
    parser.add_argument("--base-model", default=DEFAULT_BASE, metavar="package:NAME|DIR", help="default: %(default)s")
    parser.add_argument("--parameters", metavar="JSON|FILE", help="training parameters, when training")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        parameters = read_parameters(arguments.parameters)
        dataset = open_dataset(arguments.data)
        base = find_base(arguments.base_model)
        artifact = arguments.artifact
        if artifact is None:
            artifact = Path(".ragrec") / "evaluation" / dataset.digest[:12]
            # Standard output is for the report.
            run(dataset, base, parameters, artifact, report=lambda line: print(line, file=sys.stderr, flush=True))
        encoders = Encoder.load(base.path), Encoder.load(artifact / "model")
        ranker = Ranker.load(artifact / "ranker.json")
        found = evaluate(Corpus.read(dataset), *encoders, ranker, parameters.half_life_days)
    except (DataError, ParameterError, ModelError, TooFewPairsError, TrainingError, PackagingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror or error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(found)) if arguments.json else table(found))
    return 0


def table(found: Report) -> str:
    """The report for a person."""
    lines = []
    for title, values in (
        ("retrieval", found.retrieval),
        ("personalisation (next item)", found.personalisation),
        ("gains, paired", found.gains),
    ):
        lines.append(f"{title}{'' if values else ': nothing to measure on'}")
        lines += [
            f"  {v.split:14} {v.system:24} {v.metric:12} {v.value:6.3f}  [{v.low:6.3f}, {v.high:6.3f}]  n={v.n}"
            for v in values
        ]
    return "\n".join([*lines, f"split {found.split}"])


def _score(
    corpus: Corpus, queries: Sequence[Query], systems: Mapping[str, npt.NDArray[np.float64]]
) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    items = [document.id for document in corpus.documents]
    grades = grades_of(corpus.judgments)
    found = {}
    for name, scores in systems.items():
        rankings = rank(scores, queries, items)
        found[name] = {
            metric: np.array([score(rankings[query.id], grades[query.id]) for query in queries])
            for metric, score in METRICS.items()
        }
    return found


def _slices(queries: Sequence[Query]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"test": list(range(len(queries)))}
    for row, query in enumerate(queries):
        for tag in query.tags:
            found.setdefault(f"test:{tag}", []).append(row)
    return found


def _value(system: str, metric: str, values: npt.NDArray[np.float64], split: str) -> Value:
    low, high = bootstrap(values, SEED)
    mean = float(values.mean()) if len(values) else math.nan
    return Value(system, metric, mean, low, high, split, len(values))


if __name__ == "__main__":
    sys.exit(main())
