"""How BM25 and vector scores are combined: a search pipeline in OpenSearch, changed in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from infra.policies import rules
from infra.resources.cloud import changed, failures, is_unknown, known
from infra.resources.opensearch import CONNECTION, Cluster, ConnectionArgs

NORMALIZATIONS = ("min_max", "l2")
COMBINATIONS = ("arithmetic_mean", "geometric_mean", "harmonic_mean")
PROCESSOR = "normalization-processor"
_SETTINGS = ("bm25_weight", "vector_weight", "normalization", "combination")
_INPUTS = (*CONNECTION, "pipeline", *_SETTINGS)
Properties = dict[str, Any]
PATIENCE = 900
"""Seconds for a cluster that still boots."""


@dataclass(frozen=True)
class HybridWeightsArgs:
    """Inputs of `HybridWeights`.

    Attributes:
        connection: the cluster.
        bm25_weight: of the first query of a hybrid query, the text match; from 0 to 1.
        vector_weight: of the second one, the vector match; both sum to 1.
        normalization: how scores are brought to one scale: ``min_max`` or ``l2``.
        combination: how they are combined: ``arithmetic_mean``, ``geometric_mean`` or ``harmonic_mean``.
        pipeline: the search pipeline's name.
    """

    connection: ConnectionArgs
    bm25_weight: float = 0.3
    vector_weight: float = 0.7
    normalization: str = "min_max"
    combination: str = "arithmetic_mean"
    pipeline: str = "ragrec-hybrid"


def validate(properties: Mapping[str, Any]) -> dict[str, str]:
    """Problems by property; what isn't known yet is no problem. Weights are judged as settings and policies do."""
    problems = {}
    weights = {name: properties[name] for name in ("bm25_weight", "vector_weight") if name in properties}
    for name, value in weights.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            problems[name] = f"is {value!r}; a weight is a number from 0 to 1"
    if not problems and len(weights) == 2 and (wrong := rules.hybrid_weights(**weights)):
        problems["vector_weight"] = "; ".join(wrong)
    for name, allowed in (("normalization", NORMALIZATIONS), ("combination", COMBINATIONS)):
        if name in properties and properties[name] not in allowed:
            problems[name] = f"is {properties[name]!r}, allowed are {', '.join(allowed)}"
    return problems


def plan(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What an update does, in words; empty when nothing changes in OpenSearch."""
    if not old:
        return [f"create search pipeline {new['pipeline']} with {_words(new)}"]
    if old.get("pipeline") != new.get("pipeline"):
        return [f"create search pipeline {new['pipeline']} with {_words(new)}", f"delete {old['pipeline']}"]
    return [f"{name} {old.get(name)} -> {new.get(name)}" for name in _SETTINGS if old.get(name) != new.get(name)]


def document(properties: Mapping[str, Any], found: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The pipeline with the wanted processor; processors of other kinds that `found` has stay as they are."""
    wanted = {
        PROCESSOR: {
            "normalization": {"technique": properties["normalization"]},
            "combination": {
                "technique": properties["combination"],
                "parameters": {"weights": [properties["bm25_weight"], properties["vector_weight"]]},
            },
        }
    }
    kept = dict(found or {})
    others = [entry for entry in kept.get("phase_results_processors", ()) if not _combines(entry)]
    kept.setdefault("description", "Weights of BM25 and vector scores, in this order")
    return {**kept, "phase_results_processors": [wanted, *others]}


def observe(found: Mapping[str, Any]) -> Properties:
    """The settings that a pipeline holds; None for one that isn't there or can't be read."""
    settings: Properties = dict.fromkeys(_SETTINGS)
    for entry in found.get("phase_results_processors", ()):
        processor = entry.get(PROCESSOR)
        if processor is None:
            continue
        combination = processor.get("combination", {})
        weights = combination.get("parameters", {}).get("weights") or [None, None]
        settings["normalization"] = processor.get("normalization", {}).get("technique", NORMALIZATIONS[0])
        settings["combination"] = combination.get("technique", COMBINATIONS[0])
        if len(weights) == 2:
            settings["bm25_weight"], settings["vector_weight"] = weights
        break
    return settings


class HybridWeightsProvider(ResourceProvider):
    """Keeps one search pipeline."""

    serialize_as_secret_always = False

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Refuses weights that are negative or don't sum to 1."""
        return CheckResult(news, failures(validate(known(news))))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Compares the recorded (after a refresh: the live) pipeline with the wanted one."""
        names = changed(olds, news, _INPUTS)
        if names and not is_unknown(news):
            for step in plan(olds, news):
                pulumi.log.info(f"{news['pipeline']}: {step}")
        return DiffResult(changes=bool(names), replaces=[n for n in names if n == "pipeline"])

    def create(self, props: Properties) -> CreateResult:
        """Puts the pipeline; one of that name that is there already is taken over."""
        return CreateResult(props["pipeline"], self._put(props))

    def update(self, _id: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Puts the pipeline with the new settings; searches see either the old or the new ones."""
        return UpdateResult(self._put(news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """The live settings; an empty id when the pipeline is gone."""
        found = Cluster(props).find(f"/_search/pipeline/{id_}")
        if found is None:
            return ReadResult("", {})
        live = {**{name: props[name] for name in _INPUTS}, **observe(found[id_])}
        return ReadResult(id_, live, dict(live))

    def delete(self, id_: str, props: Properties) -> None:
        """Removes the pipeline."""
        Cluster(props).remove(f"/_search/pipeline/{id_}")

    def _put(self, props: Properties) -> Properties:
        cluster = Cluster(props)
        cluster.wait(PATIENCE, pulumi.log.info)
        path = f"/_search/pipeline/{props['pipeline']}"
        found = cluster.find(path)
        cluster.call("PUT", path, document(props, found and found[props["pipeline"]]))
        return {name: props[name] for name in _INPUTS}


class HybridWeights(Resource, module="ragrec", name="HybridWeights"):
    """The search pipeline ``ragrec-hybrid``; `pipeline` is its name."""

    pipeline: pulumi.Output[str]

    def __init__(self, name: str, args: HybridWeightsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        settings = {key: value for key, value in vars(args).items() if key != "connection"}
        super().__init__(HybridWeightsProvider(), name, {**args.connection.properties(), **settings}, opts)


def _combines(entry: Mapping[str, Any]) -> bool:
    return PROCESSOR in entry or "score-ranker-processor" in entry


def _words(properties: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {properties.get(name)}" for name in _SETTINGS)
