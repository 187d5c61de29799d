"""The embedding model in OpenSearch: ml-commons calls the inference gateway as a remote model.

A new version is deployed beside the old one and checked before the old one goes: neural queries always find one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from infra.resources.cloud import changed, failures, is_unknown, known
from infra.resources.gateway import Gateway, cosine
from infra.resources.opensearch import CONNECTION, Cluster, ConnectionArgs, OpenSearchError
from serving.clients.embeddings import Embedded

DEPLOYED = "DEPLOYED"
PROBE = "a known text by which both ways to the model are compared"
ML = "/_plugins/_ml"
_INPUTS = (*CONNECTION, "model", "endpoint", "token", "version", "patience")
_CONTENT = ("model", "endpoint", "token", "version")
_OUTPUTS = ("model_id", "connector_id", "dimension", "state", "live_endpoint")
Properties = dict[str, Any]


@dataclass(frozen=True)
class ModelDeploymentArgs:
    """Inputs of `ModelDeployment`.

    Attributes:
        connection: the cluster; its authority signed the gateway's certificate too.
        endpoint: the gateway's URL without path, ``https://address:8443``.
        token: bearer token with which ml-commons calls it.
        version: of the model that the gateway must serve (the artifact's digest); empty: any.
        model: name of the model, at the gateway and in ml-commons.
        patience: seconds to wait for instances that still boot.
    """

    connection: ConnectionArgs
    endpoint: pulumi.Input[str]
    token: pulumi.Input[str]
    version: pulumi.Input[str]
    model: str = "custom-emb-v1"
    patience: int = 900


class DeploymentError(Exception):
    """ml-commons didn't do what was asked; the message has its own words."""


def validate(properties: Mapping[str, Any]) -> dict[str, str]:
    """Problems by property; what isn't known yet is no problem."""
    problems = {}
    endpoint = properties.get("endpoint")
    if isinstance(endpoint, str) and not endpoint.startswith("https://"):
        problems["endpoint"] = f"is {endpoint!r}; the token is sent there, so it must start with https://"
    elif isinstance(endpoint, str) and endpoint.count("/") != 2:
        problems["endpoint"] = f"is {endpoint!r}; give scheme, address and port, without a path"
    if properties.get("token") == "":
        problems |= {"token": "is empty; ml-commons refuses a connector without a credential"}
    patience = properties.get("patience", 1)
    if not isinstance(patience, int | float) or patience < 1:
        problems["patience"] = f"is {patience!r}; give seconds, at least 1"
    return problems


def plan(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Steps from what is recorded to what is wanted, in words; empty when there is nothing to do."""
    name, change = new["model"], _change(old, new)
    if change == "create":
        return [f"register {name} as a remote model at {new['endpoint']}", "deploy it", "compare a vector"]
    if change == "replace":
        why = ", ".join(changed(old, new, _CONTENT)) or "its connector was changed by hand"
        return [f"deploy {name} beside the old one ({why})", "compare a vector", f"drop {old.get('model_id')}"]
    if change == "deploy":
        return [f"deploy {name} again (is {old.get('state')})", "compare a vector"]
    return []


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> Literal["create", "replace", "deploy", "none"]:
    if not old:
        return "create"
    if changed(old, new, _CONTENT) or old.get("live_endpoint") != old.get("endpoint"):
        return "replace"
    return "none" if old.get("state") == DEPLOYED else "deploy"


def connector(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The connector: OpenAI's protocol, with the token where ml-commons encrypts it."""
    return {
        "name": properties["model"],
        "description": f"Managed by ragrec; version {properties['version'] or 'any'}",
        "version": "1",
        "protocol": "http",
        "parameters": {"model": properties["model"]},
        "credential": {"token": properties["token"]},
        "actions": [
            {
                "action_type": "predict",
                "method": "POST",
                "url": _url(properties),
                "headers": {"Authorization": "Bearer ${credential.token}"},
                "request_body": '{"model": "${parameters.model}", "input": ${parameters.input}}',
                "pre_process_function": "connector.pre_process.openai.embedding",
                "post_process_function": "connector.post_process.openai.embedding",
            }
        ],
    }


class ModelDeploymentProvider(ResourceProvider):
    """Keeps one deployed remote model."""

    serialize_as_secret_always = False

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Refuses an endpoint without TLS and an empty token."""
        return CheckResult(news, failures(validate(known(news))))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Compares inputs, and after a refresh the state of the deployment."""
        if is_unknown(news):
            return DiffResult(changes=True)
        for step in (steps := plan(olds, news)):
            pulumi.log.info(f"{news['model']}: {step}")
        names = changed(olds, news, _INPUTS)
        return DiffResult(changes=bool(steps or names), replaces=[name for name in names if name == "model"])

    def create(self, props: Properties) -> CreateResult:
        """Deploys the model and drops what an interrupted run left behind."""
        return CreateResult(props["model"], self._replace(props))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """Deploys a new version beside the old one, or the same one again."""
        inputs = {name: news[name] for name in _INPUTS}
        match _change(olds, news):
            case "replace":
                return UpdateResult(self._replace(news))
            case "deploy":
                cluster, probe = self._ready(news)
                _deploy(cluster, olds["model_id"], news["patience"])
                _compare(cluster, olds["model_id"], probe, news)
                return UpdateResult({**olds, **inputs, "state": DEPLOYED})
            case _:
                return UpdateResult({**inputs, **{name: olds[name] for name in _OUTPUTS}})

    def read(self, id_: str, props: Properties) -> ReadResult:
        """The state of the deployment, not only of the registration; an empty id when the model is gone."""
        cluster = Cluster(props)
        model = cluster.find(f"{ML}/models/{props['model_id']}")
        if model is None:
            return ReadResult("", {})
        link = cluster.find(f"{ML}/connectors/{props['connector_id']}")
        live = {
            **{name: props[name] for name in (*_INPUTS, *_OUTPUTS)},
            "state": model.get("model_state", "") if link else "WITHOUT_CONNECTOR",
            "live_endpoint": _endpoint(link) if link else "",
        }
        return ReadResult(id_, live, {name: props[name] for name in _INPUTS})

    def delete(self, _id: str, props: Properties) -> None:
        """Undeploys and deletes the model, its connector and its group."""
        _drop_others(Cluster(props), props["model"], keep="")

    def _ready(self, props: Properties) -> tuple[Cluster, Embedded]:
        cluster = Cluster(props)
        deadline = time.monotonic() + props["patience"]
        cluster.wait(props["patience"], pulumi.log.info)
        with Gateway(props) as gateway:
            gateway.wait(props["version"], max(1, deadline - time.monotonic()), pulumi.log.info)
            return cluster, gateway.embed([PROBE])

    def _replace(self, props: Properties) -> Properties:
        cluster, probe = self._ready(props)
        connector_id = cluster.call("POST", f"{ML}/connectors/_create", connector(props))["connector_id"]
        model_id = ""
        try:
            model_id = _register(cluster, props, connector_id)
            _deploy(cluster, model_id, props["patience"])
            _compare(cluster, model_id, probe, props)
        except BaseException:
            if model_id:
                _drop(cluster, model_id)
            cluster.remove(f"{ML}/connectors/{connector_id}")
            raise
        _drop_others(cluster, props["model"], keep=model_id)
        return {
            **{name: props[name] for name in _INPUTS},
            "model_id": model_id,
            "connector_id": connector_id,
            "dimension": probe.dimension,
            "state": DEPLOYED,
            "live_endpoint": props["endpoint"],
        }


class ModelDeployment(Resource, module="ragrec", name="ModelDeployment"):
    """A remote model in ml-commons.

    Attributes:
        model_id: by which ``_predict`` and neural queries name it.
        dimension: of its vectors.
        state: ``DEPLOYED``, or what a refresh found instead.
    """

    model_id: pulumi.Output[str]
    connector_id: pulumi.Output[str]
    dimension: pulumi.Output[int]
    state: pulumi.Output[str]
    live_endpoint: pulumi.Output[str]

    def __init__(self, name: str, args: ModelDeploymentArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        properties = {
            **args.connection.properties(),
            "model": args.model,
            "endpoint": args.endpoint,
            "token": pulumi.Output.secret(args.token),
            "version": args.version,
            "patience": args.patience,
            **dict.fromkeys(_OUTPUTS),
        }
        super().__init__(ModelDeploymentProvider(), name, properties, opts)


def _url(properties: Mapping[str, Any]) -> str:
    return f"{properties['endpoint']}/v1/embeddings"


def _endpoint(link: Mapping[str, Any]) -> str:
    urls = [action.get("url", "") for action in link.get("actions", ()) if action.get("action_type") == "PREDICT"]
    return str(urls[0]).removesuffix("/v1/embeddings") if urls else ""


def _register(cluster: Cluster, props: Mapping[str, Any], connector_id: str) -> str:
    answer = cluster.call(
        "POST",
        f"{ML}/models/_register",
        {
            "name": props["model"],
            "function_name": "remote",
            "model_group_id": _group(cluster, props["model"]),
            "description": f"Managed by ragrec; version {props['version'] or 'any'}",
            "connector_id": connector_id,
        },
    )
    if "model_id" in answer:
        return str(answer["model_id"])
    return str(_await(cluster, answer["task_id"], 60)["model_id"])


def _group(cluster: Cluster, name: str) -> str:
    """The model group of that name: versions of a model share one, and its name is unique."""
    if found := _search(cluster, "model_groups", name):
        return found[0]
    answer = cluster.call("POST", f"{ML}/model_groups/_register", {"name": name, "description": "Managed by ragrec"})
    return str(answer["model_group_id"])


def _deploy(cluster: Cluster, model_id: str, seconds: float) -> None:
    answer = cluster.call("POST", f"{ML}/models/{model_id}/_deploy")
    _await(cluster, answer["task_id"], seconds)
    # The model says so a moment after its task does.
    deadline = time.monotonic() + 30
    while (state := (cluster.find(f"{ML}/models/{model_id}") or {}).get("model_state")) != DEPLOYED:
        if time.monotonic() > deadline:
            raise DeploymentError(f"model {model_id} is {state} although its deployment completed")
        time.sleep(0.2)


def _await(cluster: Cluster, task_id: str, seconds: float) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        task = cluster.call("GET", f"{ML}/tasks/{task_id}")
        state = task.get("state")
        if state == "COMPLETED":
            return task
        if state in {"FAILED", "COMPLETED_WITH_ERROR", "CANCELLED"}:
            raise DeploymentError(f"{task.get('task_type')} ended as {state}: {task.get('error')}")
        if time.monotonic() > deadline:
            raise DeploymentError(f"{task.get('task_type')} is {state} after {seconds:.0f} s")
        time.sleep(0.3)


def _compare(cluster: Cluster, model_id: str, probe: Embedded, props: Mapping[str, Any]) -> None:
    """Both ways to the model, directly and through ml-commons, must give the same vector.

    Raises:
        DeploymentError: they don't.
    """
    body = {"text_docs": [PROBE], "return_number": True, "target_response": ["sentence_embedding"]}
    try:
        answer = cluster.call("POST", f"{ML}/_predict/text_embedding/{model_id}", body)
        vector = answer["inference_results"][0]["output"][0]["data"]
    except (KeyError, IndexError, TypeError) as error:
        raise DeploymentError(f"ml-commons gave no vector through {props['endpoint']}") from error
    except OpenSearchError as error:
        raise DeploymentError(
            f"ml-commons can't reach the model: {error} (does the node trust the gateway's authority, and does"
            f" plugins.ml_commons.trusted_connector_endpoints_regex allow {_url(props)}?)"
        ) from error
    if len(vector) != probe.dimension:
        raise DeploymentError(f"ml-commons gives {len(vector)} dimensions, the gateway {probe.dimension}")
    if (similarity := cosine(vector, probe.vectors[0])) < 0.999:
        raise DeploymentError(f"ml-commons and the gateway disagree about a text: cosine {similarity:.4f}")


def _search(cluster: Cluster, kind: str, name: str) -> list[str]:
    body = {"query": {"term": {"name.keyword": name}}, "size": 100}
    try:
        answer = cluster.call("POST", f"{ML}/{kind}/_search", body)
    except OpenSearchError as error:
        if error.status == 404:  # nothing of the kind was ever registered
            return []
        raise
    return [str(hit["_id"]) for hit in answer["hits"]["hits"]]


def _drop_others(cluster: Cluster, name: str, *, keep: str) -> None:
    """Removes every model of that name but `keep`, and connectors of that name that no model uses."""
    for model_id in _search(cluster, "models", name):
        if model_id != keep:
            _drop(cluster, model_id)
    used = (cluster.find(f"{ML}/models/{keep}") or {}).get("connector_id") if keep else None
    for connector_id in _search(cluster, "connectors", name):
        if connector_id != used:
            cluster.remove(f"{ML}/connectors/{connector_id}")
    if not keep:
        for group_id in _search(cluster, "model_groups", name):
            cluster.remove(f"{ML}/model_groups/{group_id}")


def _drop(cluster: Cluster, model_id: str) -> None:
    try:
        cluster.call("POST", f"{ML}/models/{model_id}/_undeploy")
    except OpenSearchError as error:
        if error.status != 404:
            raise
    cluster.remove(f"{ML}/models/{model_id}")
