"""ModelDeployment: ml-commons of a real OpenSearch, calling a gateway over TLS with the stack's authority."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pulumi.runtime import rpc

from infra.resources.model_deployment import (
    DEPLOYED,
    DeploymentError,
    ModelDeploymentProvider,
    connector,
    plan,
    validate,
)
from infra.resources.opensearch import OpenSearchError
from serving.clients.embeddings import EmbeddingsError
from tests.embeddings import DIMENSION, MODEL, FakeGateway
from tests.opensearch import Node

PROPS = {"model": MODEL, "endpoint": "https://10.0.0.5:8443", "token": "t", "version": "v1", "patience": 900}


@pytest.fixture
def props(opensearch: Node, gateway: FakeGateway) -> Iterator[dict[str, Any]]:
    given = {
        **opensearch.connection(),
        "model": MODEL,
        "endpoint": gateway.url,
        "token": gateway.token,
        "version": gateway.version,
        "patience": 2,
    }
    yield given
    ModelDeploymentProvider().delete(MODEL, given)


def models(node: Node) -> list[str]:
    """States of the registered models."""
    session, url = node.session(), f"{node.url}/_plugins/_ml/models"
    answer = session.post(f"{url}/_search", json={"query": {"match_all": {}}, "size": 50}).json()
    found = [session.get(f"{url}/{hit['_id']}").json() for hit in answer.get("hits", {}).get("hits", [])]
    return [model["model_state"] for model in found if "model_state" in model]


@pytest.mark.opensearch
def test_life_of_a_deployment(opensearch: Node, gateway: FakeGateway, props: dict[str, Any]) -> None:
    provider = ModelDeploymentProvider()

    made = provider.create(props)
    outs = made.outs or {}
    assert made.id == MODEL
    assert (outs["state"], outs["dimension"]) == (DEPLOYED, DIMENSION)
    read = provider.read(made.id, outs)
    assert read.outs == outs
    assert provider.diff(made.id, outs, props).changes is False

    # A new version is served beside the old one, which goes when the new one is checked.
    gateway.version = "b" * 64
    newer = provider.update(made.id, outs, {**props, "version": gateway.version}).outs or {}
    assert newer["model_id"] != outs["model_id"]
    assert models(opensearch) == [DEPLOYED]

    provider.delete(made.id, newer)
    provider.delete(made.id, newer)
    assert provider.read(made.id, newer).id == ""
    assert models(opensearch) == []


@pytest.mark.opensearch
def test_a_model_that_is_registered_but_not_deployed_is_drift(opensearch: Node, props: dict[str, Any]) -> None:
    provider = ModelDeploymentProvider()
    made = provider.create(props)
    outs = made.outs or {}
    url = f"{opensearch.url}/_plugins/_ml/models/{outs['model_id']}/_undeploy"
    assert opensearch.session().post(url).status_code == 200

    read = provider.read(made.id, outs).outs or {}

    assert read["state"] == "UNDEPLOYED"
    assert provider.diff(made.id, read, props).changes is True
    repaired = provider.update(made.id, read, props).outs or {}
    assert repaired["model_id"] == outs["model_id"]
    assert (provider.read(made.id, repaired).outs or {})["state"] == DEPLOYED


@pytest.mark.opensearch
def test_a_second_create_leaves_one_model(opensearch: Node, props: dict[str, Any]) -> None:
    provider = ModelDeploymentProvider()
    provider.create(props)

    provider.create(props)

    assert models(opensearch) == [DEPLOYED]


@pytest.mark.opensearch
def test_a_failed_check_leaves_the_old_model_alone(
    opensearch: Node, gateway: FakeGateway, props: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = ModelDeploymentProvider()
    made = provider.create(props)
    monkeypatch.setattr("infra.resources.model_deployment._url", lambda _: "https://192.0.2.1/not-allowed")

    with pytest.raises(OpenSearchError, match="trusted"):
        provider.update(made.id, made.outs or {}, {**props, "version": ""})

    assert models(opensearch) == [DEPLOYED]
    assert (provider.read(made.id, made.outs or {}).outs or {})["state"] == DEPLOYED


@pytest.mark.opensearch
def test_vectors_that_differ_are_refused(
    opensearch: Node, gateway: FakeGateway, props: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = FakeGateway.answer

    def other_for_connectors(self: FakeGateway, authorization: str | None, body: dict[str, Any]) -> Any:
        self.drift = 5.0 if len(self.texts) >= 2 else 0.0  # after the two calls of the provider itself
        return answer(self, authorization, body)

    monkeypatch.setattr(FakeGateway, "answer", other_for_connectors)

    with pytest.raises(DeploymentError, match="disagree about a text"):
        ModelDeploymentProvider().create(props)

    assert models(opensearch) == []


@pytest.mark.opensearch
@pytest.mark.parametrize(
    ("change", "words"),
    [({"token": "wrong"}, "refuses the token"), ({"version": "c" * 64}, "it serves version aaaa")],
)
def test_a_refusing_gateway_is_said_in_one_line(props: dict[str, Any], change: dict[str, Any], words: str) -> None:
    with pytest.raises(EmbeddingsError, match=words):
        ModelDeploymentProvider().create({**props, **change})


def test_the_token_is_only_in_the_credential() -> None:
    made = connector({**PROPS, "token": "secret-token"})

    assert made["credential"] == {"token": "secret-token"}
    assert "secret-token" not in str({name: value for name, value in made.items() if name != "credential"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", "http://10.0.0.5:8443"),
        ("endpoint", "https://10.0.0.5:8443/v1"),
        ("token", ""),
        ("patience", 0),
    ],
)
def test_validate_names_the_property(name: str, value: Any) -> None:
    assert list(validate({name: value})) == [name]


def test_unknown_values_pass() -> None:
    unknown = rpc.deserialize_property(rpc.UNKNOWN, True)
    provider = ModelDeploymentProvider()

    assert provider.check({}, {**PROPS, "token": unknown}).failures == []
    assert provider.diff("id", dict(PROPS), {**PROPS, "token": unknown}).changes is True


def test_plan_says_what_happens_in_words() -> None:
    old = {**PROPS, "state": DEPLOYED, "model_id": "m1", "live_endpoint": PROPS["endpoint"]}

    assert plan({}, PROPS)[0] == "register custom-emb-v1 as a remote model at https://10.0.0.5:8443"
    assert plan(old, PROPS) == []
    assert plan(old, {**PROPS, "version": "v2"}) == [
        "deploy custom-emb-v1 beside the old one (version)",
        "compare a vector",
        "drop m1",
    ]
    assert plan({**old, "state": "UNDEPLOYED"}, PROPS)[0] == "deploy custom-emb-v1 again (is UNDEPLOYED)"
    assert plan({**old, "live_endpoint": "https://other"}, PROPS)[0].endswith("(its connector was changed by hand)")
