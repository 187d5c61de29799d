"""The whole pipeline on the real engine: what a user of the stack relies on."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.data import open_dataset
from serving.clients.recommendation import RecommendationClient
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


@pytest.fixture
def api(stack: Stack) -> Iterator[RecommendationClient]:
    with RecommendationClient(stack.outputs["endpoint"], stack.outputs["instance"]) as client:
        yield client


def _search(stack: Stack, method: str, path: str, body: Any = None, *, password: str | None = None) -> httpx.Response:
    with httpx.Client(verify=False, trust_env=False, timeout=30) as client:
        return client.request(
            method,
            stack.outputs["searchEndpoint"] + path,
            json=body,
            auth=("admin", password or stack.outputs["searchPassword"]),
        )


def test_preview_before_the_first_up_lists_everything(stack: Stack) -> None:
    said = (stack.state / "preview.txt").read_text()
    for kind in (
        "alicloud:oss:Bucket data",
        "alicloud:ecs:Instance inference",
        "alicloud:ram:Policy search",
        "ragrec:DataSet raw",
        "ragrec:TrainingJob training",
        "ragrec:ModelDeployment custom-emb-v1",
        "ragrec:SearchIndex items",
        "ragrec:HybridWeights ragrec-hybrid",
        "ragrec:AirecDataConnection airec-data",
        "ragrec:ServiceDeployment custom-v1",
    ):
        assert re.search(rf"\+\s+\S*{re.escape(kind)} create", said), kind


def test_recommendations_are_personal_and_new(stack: Stack, api: RecommendationClient) -> None:
    data = open_dataset(Path(stack.outputs["source"]))
    seen: dict[str, set[str]] = {}
    for interaction in data.interactions():
        seen.setdefault(interaction.user_id, set()).add(interaction.item_id)
    first, second = sorted(seen, key=lambda user: -len(seen[user]))[:2]
    answers = {user: api.recommend(user_id=user, k=10, explain=True) for user in (first, second)}
    for user, answer in answers.items():
        items = [item["item_id"] for item in answer["items"]]
        assert len(items) == 10
        assert not seen[user] & set(items)
        assert answer["release"] == stack.outputs["release"]
        assert answer["degraded"] == []
    assert [i["item_id"] for i in answers[first]["items"]] != [i["item_id"] for i in answers[second]["items"]]
    recalls = {name for answer in answers.values() for item in answer["items"] for name in item["explain"]["recalls"]}
    assert {"semantic_recall", "collaborative", "airec"} <= recalls


def test_a_query_and_an_unknown_user_are_answered(api: RecommendationClient) -> None:
    answer = api.recommend(query="shift report", k=3, explain=True)
    assert [name for item in answer["items"] for name in item["explain"]["recalls"]].count("hybrid") == 3
    assert len(api.recommend(user_id="nobody-knows-me", k=3)["items"]) == 3


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({"k": "0"}, 400, "k"),
        ({"k": "many"}, 400, "k"),
        ({"query": "x" * 5000}, 400, "query"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
def test_bad_requests_say_what_is_wrong(stack: Stack, parameters: dict[str, str], status: int, message: str) -> None:
    url = f"{stack.outputs['endpoint']}/v1/instances/{stack.outputs['instance']}/recommend"
    reply = httpx.get(url, params=parameters, trust_env=False)
    assert reply.status_code == status
    assert message in reply.json()["error"]["message"]


def test_doors_are_closed(stack: Stack) -> None:
    endpoint, instance = stack.outputs["endpoint"], stack.outputs["instance"]
    body = {"service_type": "recommendation", "model_version": "custom_v1"}
    assert httpx.post(f"{endpoint}/v1/instances/{instance}/deploy", json=body, trust_env=False).status_code == 401
    assert httpx.get(f"{endpoint}/v1/instances/other/recommend", trust_env=False).status_code == 404
    assert _search(stack, "GET", "/", password="wrong").status_code == 401
    with httpx.Client(verify=False, trust_env=False) as client:
        gateway = client.post(stack.outputs["inferenceEndpoint"] + "/v1/embeddings", json={"input": ["x"]})
    assert gateway.status_code == 401
    # TorchServe's own port, and the transport port of search, lead nowhere from out here: refused, or closed at once
    # where a rule opens the port to others.
    for url, port in ((stack.outputs["inferenceEndpoint"], 8085), (stack.outputs["searchEndpoint"], 9300)):
        assert _answer(httpx.URL(url).host, port) == b""


def _answer(host: str, port: int) -> bytes:
    try:
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
            return connection.recv(100)
    except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
        return b""


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    said = stack.up("--expect-no-changes")
    assert re.search(r"Resources:\n\s+\d+ unchanged\n", said)


def test_a_hand_edit_of_the_weights_is_seen_and_repaired(stack: Stack) -> None:
    path = "/_search/pipeline/ragrec-hybrid"
    pipeline = _search(stack, "GET", path).json()["ragrec-hybrid"]
    parameters = pipeline["phase_results_processors"][0]["normalization-processor"]["combination"]["parameters"]
    assert parameters["weights"] == [0.3, 0.7]
    parameters["weights"] = [0.9, 0.1]
    assert _search(stack, "PUT", path, pipeline).status_code == 200
    said = stack.pulumi("refresh", "--yes", "--skip-preview")
    assert re.search(r"~ 1 updated", said)
    said = stack.up()
    assert re.search(r"~ 1 updated", said)
    repaired = _search(stack, "GET", path).json()["ragrec-hybrid"]["phase_results_processors"][0]
    assert repaired["normalization-processor"]["combination"]["parameters"]["weights"] == [0.3, 0.7]


def test_weights_that_do_not_sum_to_one_are_refused(stack: Stack) -> None:
    stack.set("hybrid", {"bm25Weight": 0.3, "vectorWeight": 0.8})
    try:
        said = stack.pulumi("preview", fails=True)
    finally:
        stack.set("hybrid", {"bm25Weight": 0.3, "vectorWeight": 0.7})
    assert "ragrec:hybrid: bm25Weight + vectorWeight is 1.1; the weights must sum to 1" in said
    assert "Traceback" not in said


def test_secrets_are_nowhere_in_clear(stack: Stack) -> None:
    secrets = stack.secrets()
    assert len(secrets) >= 10
    root = json.loads((stack.state / "localcloud" / "credentials.json").read_text())
    needles = [*secrets.values(), next(value for key, value in root.items() if "secret" in key)]
    # A key of several lines may be written with its line ends escaped: its longest line tells.
    lines = [max(needle.splitlines(), key=len) for needle in needles]
    state = sorted((stack.state / "pulumi").rglob("*.json*"))
    logs = [stack.state / "localcloud" / "log", *(stack.state / "localcloud" / "machines").glob("*/console.log")]
    user_data = sorted((stack.state / "localcloud" / "machines").glob("*/machine.json"))
    assert len(state) >= 1
    assert len(user_data) >= 3
    for file in [*state, *logs, *user_data]:
        text = file.read_text(errors="replace")
        assert not [line[:4] for line in lines if line in text], file


def _java(needle: str, state: Path) -> list[int]:
    """Processes of this stack's machines that run a class."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            mounted = (folder / "mountinfo").read_text()
        except OSError:
            continue
        if needle in command and str(state) in mounted:
            found.append(int(folder.name))
    return found


@pytest.mark.parametrize("program", ["org.pytorch.serve.ModelServer", "org.opensearch.bootstrap.OpenSearch"])
def test_killed_servers_come_back(stack: Stack, api: RecommendationClient, program: str) -> None:
    (process,) = _java(program, stack.state)
    os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 180
    while True:
        try:
            answer = api.recommend(query="shift report", k=1, explain=True)
        except Exception as error:
            raise AssertionError("the answer is degraded, never refused") from error
        alive = _java(program, stack.state)
        if alive and alive != [process] and answer["degraded"] == []:
            return
        assert time.monotonic() < deadline, answer["degraded"]
        time.sleep(1)
