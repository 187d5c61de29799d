"""An index of OpenSearch: built beside the one that is served from the staged data, verified, then switched to."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import alibabacloud_oss_v2 as oss
import pulumi
from alibabacloud_oss_v2.exceptions import OperationError
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from infra.resources import index_mapping
from infra.resources.cloud import (
    CloudProvider,
    changed,
    failures,
    is_unknown,
    known,
    list_objects,
    oss_client,
    oss_error,
)
from infra.resources.gateway import Gateway
from infra.resources.index_build import build, built, flip, in_place, prune, targets, verify
from infra.resources.opensearch import CONNECTION, Cluster, ConnectionArgs
from model.data import DataSet, open_dataset

_CONTENT = ("kind", "data_digest", "model", "version", "dimension", "engine")
_IN_PLACE = ("replicas", "pipeline")
_INPUTS = (*CONNECTION, "alias", "bucket", "prefix", "endpoint", "token", "patience", *_CONTENT, *_IN_PLACE)
_OUTPUTS = ("index", "digest", "documents", "count", "previous")
_UNSERVED = "the alias stands for nothing"
Properties = dict[str, Any]


@dataclass(frozen=True)
class SearchIndexArgs:
    """Inputs of `SearchIndex`.

    Attributes:
        connection: the cluster; its authority signed the gateway's certificate too.
        kind: ``items`` (documents with vectors) or ``users`` (histories from the interactions).
        bucket: where the staged data lies.
        data_digest: of the data set that must lie there.
        prefix: of the staged data's keys.
        endpoint: items: the gateway's URL without path.
        token: items: the bearer token for it.
        model: items: the model's name at the gateway.
        version: items: the version that the gateway must serve (the artifact's digest); empty: any.
        dimension: items: of the model's vectors.
        engine: items: ``lucene``, or ``faiss`` where the node has its library.
        pipeline: items: the search pipeline that every search goes through.
        replicas: copies of each shard, beside the first.
        alias: the name that is searched; default: the kind.
        patience: seconds to wait for instances that still boot.
    """

    connection: ConnectionArgs
    kind: Literal["items", "users"]
    bucket: pulumi.Input[str]
    data_digest: pulumi.Input[str]
    prefix: str = "raw/"
    endpoint: pulumi.Input[str] = ""
    token: pulumi.Input[str] = ""
    model: str = "custom-emb-v1"
    version: pulumi.Input[str] = ""
    dimension: pulumi.Input[int] = 0
    engine: str = "lucene"
    pipeline: str = "ragrec-hybrid"
    replicas: int = 0
    alias: str = ""
    patience: int = 900


def validate(properties: Mapping[str, Any]) -> dict[str, str]:
    """Problems by property; what isn't known yet is no problem. The policy pack calls this too."""
    problems = {}
    kind = properties.get("kind")
    if kind not in index_mapping.KINDS:
        problems["kind"] = f"is {kind!r}, allowed are {', '.join(index_mapping.KINDS)}"
    if "alias" in properties and not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", str(properties["alias"])):
        problems["alias"] = (
            f"is {properties['alias']!r}; a lower-case letter, then letters, digits, - and _; at most 64"
        )
    if "prefix" in properties and not re.fullmatch(r"([\w.-]+/)+", str(properties["prefix"])):
        problems["prefix"] = f"is {properties['prefix']!r}; it must end with a slash"
    if "data_digest" in properties and not re.fullmatch(r"[0-9a-f]{64}", str(properties["data_digest"])):
        problems["data_digest"] = f"is {properties['data_digest']!r}; give the 64 hex digits of the data set"
    replicas = properties.get("replicas", 0)
    if not 0 <= replicas <= 10:
        problems["replicas"] = f"is {replicas!r}; allowed are 0 to 10"
    if kind == "items":
        if properties.get("engine", index_mapping.ENGINES[0]) not in index_mapping.ENGINES:
            problems["engine"] = f"is {properties['engine']!r}, allowed are {', '.join(index_mapping.ENGINES)}"
        if not 1 <= properties.get("dimension", 1) <= 16_000:
            problems["dimension"] = f"is {properties['dimension']!r}; allowed are 1 to 16000"
        if not str(properties.get("endpoint", "https://")).startswith("https://"):
            problems["endpoint"] = (
                f"is {properties['endpoint']!r}; the token is sent there: it must start with https://"
            )
    return problems


def plan(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Steps from what is recorded to what is wanted, in words; empty when there is nothing to do."""
    change = _change(old, new)
    if change == "none":
        return []
    if change == "settings":
        return [f"{name} {old.get(name)} -> {new.get(name)}" for name in changed(old, new, _IN_PLACE)]
    name = f"{new['alias']}-{index_mapping.digest(new)}"
    if change == "create":
        return [f"build {name}", "count and compare", f"point {new['alias']} at it"]
    why = ", ".join(changed(old, new, _CONTENT)) or _drift(old)
    size = f" ({int(old['documents']):,} documents now)" if old.get("documents") else ""
    return [
        f"build a new index beside {old.get('index') or 'nothing'}{size}: {why}",
        "count and compare",
        f"point {new['alias']} at it and keep {old.get('index') or 'nothing'} for the way back",
    ]


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> Literal["create", "build", "settings", "none"]:
    if not old:
        return "create"
    if old.get("digest") != index_mapping.digest(new) or _drift(old):
        return "build"
    return "settings" if changed(old, new, _IN_PLACE) else "none"


def _drift(old: Mapping[str, Any]) -> str:
    """What a refresh found that only a new index repairs."""
    if not old.get("index"):
        return _UNSERVED
    if old.get("count") is not None and old["count"] != old.get("documents"):
        return f"it holds {int(old['count']):,} documents instead of {int(old.get('documents') or 0):,}"
    return "" if old.get("digest") else "it was made by somebody else"


class SearchIndexProvider(CloudProvider):
    """Keeps one alias and the index behind it."""

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Refuses what can be known to fail."""
        return CheckResult(news, failures(validate(known(news))))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Compares the wanted content with that of the index that is served."""
        if is_unknown(news):
            return DiffResult(changes=True)
        for step in (steps := plan(olds, news)):
            pulumi.log.info(f"{news['alias']}: {step}")
        names = changed(olds, news, _INPUTS)
        return DiffResult(changes=bool(steps or names), replaces=[n for n in names if n in {"alias", "kind"}])

    def create(self, props: Properties) -> CreateResult:
        """Builds the index; one of the same content that is served already is taken over."""
        cluster = Cluster(props)
        cluster.wait(props["patience"], pulumi.log.info)
        live = observe(cluster, props)
        if live and _change({**props, **live}, props) == "none":
            return CreateResult(props["alias"], {**_inputs(props), **live})
        return CreateResult(props["alias"], self._transition(cluster, props))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """Changes settings in place; anything else by a new index beside the old one."""
        cluster = Cluster(news)
        cluster.wait(news["patience"], pulumi.log.info)
        match _change(olds, news):
            case "build":
                return UpdateResult(self._transition(cluster, news))
            case "settings":
                cluster.call("PUT", f"/{olds['index']}/_settings", {"index": in_place(news)})
        return UpdateResult({**_inputs(news), **{name: olds[name] for name in _OUTPUTS}})

    def read(self, id_: str, props: Properties) -> ReadResult:
        """What the alias stands for, and what that index says of itself; an empty id when both are gone."""
        live = observe(Cluster(props), props)
        if live is None:
            return ReadResult("", {})
        outs = {**_inputs(props), **live}
        return ReadResult(id_, outs, _inputs(outs))

    def delete(self, _id: str, props: Properties) -> None:
        """Removes every index that was built for the alias; the alias goes with the last one."""
        prune(Cluster(props), props["alias"], keep=())

    def _transition(self, cluster: Cluster, props: Properties) -> Properties:
        served = targets(cluster, props["alias"])
        name = _name(props, served)
        if props["kind"] == "items":
            with Gateway(props) as gateway:
                gateway.wait(props["version"], props["patience"], pulumi.log.info)
        with self._staged(props) as data:
            # Items of the same content are there after a kill, or to go back to. Users have changed since.
            found = built(cluster, props, name) if props["kind"] == "items" else None
            count = build(cluster, props, data, name, pulumi.log.info) if found is None else found
            try:
                verify(cluster, props, data, name, count)
                previous = flip(cluster, props["alias"], name)
            except BaseException:
                if found is None:
                    cluster.remove(f"/{name}")
                raise
        # One to go back to; not the broken one that this one repairs.
        previous = [index for index in previous if index.removesuffix("-2") != name.removesuffix("-2")]
        prune(cluster, props["alias"], keep=[name, *previous])
        return {
            **_inputs(props),
            "index": name,
            "digest": index_mapping.digest(props),
            "documents": count,
            "count": count if props["kind"] == "items" else None,
            "previous": previous,
        }

    @contextmanager
    def _staged(self, props: Properties) -> Iterator[DataSet]:
        """The staged data as a local folder, which is removed afterwards."""
        client = oss_client(self.cloud())
        bucket, prefix = props["bucket"], props["prefix"]
        with tempfile.TemporaryDirectory(prefix="ragrec-index-") as folder:
            for key, _, _ in list_objects(client, bucket, prefix):
                path = Path(folder, key.removeprefix(prefix))
                if path.parent != Path(folder):
                    continue
                try:
                    client.get_object_to_file(oss.GetObjectRequest(bucket=bucket, key=key), str(path))
                except OperationError as error:
                    raise oss_error(f"read oss://{bucket}/{key}", error) from error
            data = open_dataset(folder)
            if data.digest != props["data_digest"]:
                raise ValueError(
                    f"oss://{bucket}/{prefix} holds data set {data.digest[:12]}, not {props['data_digest'][:12]}:"
                    " it was changed behind the stack; `pulumi refresh`, then `pulumi up`"
                )
            yield data


class SearchIndex(Resource, module="ragrec", name="SearchIndex"):
    """An alias with the index behind it.

    Attributes:
        index: the physical index.
        digest: of its layout, data and model.
        documents: how many it was built with.
    """

    index: pulumi.Output[str]
    digest: pulumi.Output[str]
    documents: pulumi.Output[int]
    previous: pulumi.Output[list[str]]

    def __init__(self, name: str, args: SearchIndexArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        properties = {key: value for key, value in vars(args).items() if key != "connection"}
        properties |= {
            **args.connection.properties(),
            "alias": args.alias or args.kind,
            "token": pulumi.Output.secret(args.token),
            **dict.fromkeys(_OUTPUTS),
        }
        super().__init__(SearchIndexProvider(), name, properties, opts)


def observe(cluster: Cluster, props: Mapping[str, Any]) -> Properties | None:
    """The live outputs, and the settings that can change in place; None when nothing is left of the index."""
    served = targets(cluster, props["alias"])
    if not served:
        return None
    name = served[0]
    entry = cluster.call("GET", f"/{name}")[name]
    described = entry["mappings"].get("_meta", {})
    index = entry["settings"]["index"]
    live: Properties = {
        "index": name if len(served) == 1 else "",
        "digest": described.get("digest", ""),
        "documents": described.get("documents"),
        "count": None,
        "previous": [other for other in props.get("previous") or [] if cluster.find(f"/{other}") is not None],
        "replicas": int(index.get("number_of_replicas", 0)),
        "pipeline": props["pipeline"],
    }
    if props["kind"] == "items":
        live["count"] = cluster.call("GET", f"/{name}/_count")["count"]
        live["pipeline"] = index.get("search", {}).get("default_pipeline", "")
    return live


def _name(props: Mapping[str, Any], served: list[str]) -> str:
    """The new index's name; with a suffix when the served one has it, because it is broken."""
    name = f"{props['alias']}-{index_mapping.digest(props)}"
    return f"{name}-2" if name in served else name


def _inputs(props: Mapping[str, Any]) -> Properties:
    return {name: props[name] for name in _INPUTS}
