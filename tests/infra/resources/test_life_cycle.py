"""The search-side resources under the real engine: previews, secrets, drift, repair, removal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.engine.paths import TREE
from infra.resources.hybrid_weights import document
from tests.embeddings import FakeGateway
from tests.infra.engine.project import Project
from tests.opensearch import Node

PROGRAM = """
from pathlib import Path
import pulumi
from infra.resources.credentials import Credentials, CredentialsArgs
from infra.resources.hybrid_weights import HybridWeights, HybridWeightsArgs
from infra.resources.model_deployment import ModelDeployment, ModelDeploymentArgs
from infra.resources.opensearch import ConnectionArgs

config = pulumi.Config("probe")
made = Credentials("made", CredentialsArgs(["admin"], ["inference"], {"search": ["127.0.0.1"]}))
connection = ConnectionArgs(
    config.require("url"), Path("authority.pem").read_text(), "loader", config.require_secret("password")
)
HybridWeights(
    "weights",
    HybridWeightsArgs(connection, config.require_float("bm25"), config.require_float("vector"), pipeline="probe"),
)
ModelDeployment(
    "model",
    ModelDeploymentArgs(connection, config.require("endpoint"), config.require_secret("token"), "", patience=30),
)
pulumi.export("password", made.passwords["admin"])
pulumi.export("key", made.keys["search"])
"""


@pytest.fixture
def project(tmp_path: Path, opensearch: Node, gateway: FakeGateway) -> Project:
    made = Project.create(
        tmp_path,
        {
            "Pulumi.yaml": "name: probe\nruntime: {name: python, options: {virtualenv: .venv}}\n",
            "__main__.py": PROGRAM,
            "authority.pem": opensearch.connection()["authority"],
        },
    )
    made.variables["PYTHONPATH"] = str(TREE)
    made.pulumi("stack", "init", "test")
    connection = opensearch.connection()
    made.pulumi("config", "set", "probe:url", connection["url"])
    for name, secret in (("password", connection["password"]), ("token", gateway.token)):
        made.pulumi("config", "set", "--secret", f"probe:{name}", secret)
    for name, value in (("endpoint", gateway.url), ("bm25", "0.3"), ("vector", "0.7")):
        made.pulumi("config", "set", f"probe:{name}", value)
    return made


@pytest.mark.engine
@pytest.mark.opensearch
def test_life_cycle(project: Project, opensearch: Node, gateway: FakeGateway) -> None:
    preview = project.pulumi("preview")
    for kind in ("Credentials", "HybridWeights", "ModelDeployment"):
        assert f"dynamic/ragrec:{kind}" in preview.replace("pulumi-python:", "")

    project.pulumi("up", "--yes")

    outputs = project.json("stack", "output", "--json", "--show-secrets")
    state = project.pulumi("stack", "export")
    for secret in (
        outputs["password"],
        outputs["key"].splitlines()[1],
        opensearch.passwords["loader"],
        gateway.token,
    ):
        assert secret not in state
    project.pulumi("up", "--yes", "--expect-no-changes")
    project.pulumi("refresh", "--yes", "--expect-no-changes")

    # A hand edit is seen by a refresh, and the next update repairs it.
    url = f"{opensearch.url}/_search/pipeline/probe"
    techniques = {"normalization": "min_max", "combination": "arithmetic_mean"}
    edited = document({"bm25_weight": 0.9, "vector_weight": 0.1, **techniques})
    assert opensearch.session().put(url, json=edited).status_code == 200
    seen = project.pulumi("refresh", "--yes")
    assert "1 updated" in seen
    assert "bm25_weight 0.9 -> 0.3" in project.pulumi("preview")
    project.pulumi("up", "--yes")
    assert "0.3" in json.dumps(opensearch.session().get(url).json())
    project.pulumi("up", "--yes", "--expect-no-changes")
    assert project.json("stack", "output", "--json", "--show-secrets") == outputs
    assert opensearch.passwords["loader"] not in project.pulumi("stack", "export")

    project.pulumi("config", "set", "probe:vector", "0.6")
    assert "the weights must sum to 1" in project.pulumi("preview", code=1)
    project.pulumi("config", "set", "probe:vector", "0.7")

    project.pulumi("destroy", "--yes")
    assert opensearch.session().get(url).status_code == 404
