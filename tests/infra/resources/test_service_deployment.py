"""ServiceDeployment: against a server that speaks the deployment API of the recommendation service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pulumi.runtime import rpc

from infra.resources.service_deployment import (
    ServiceDeploymentError,
    ServiceDeploymentProvider,
    plan,
    request,
    validate,
)
from serving.recommendation.instance import DeployRequest
from tests.opensearch import free_port

TOKEN = "deploy-token"
INSTANCE = "ragrec-test"


@dataclass
class FakeService:
    """What is deployed, and how the next calls end."""

    url: str = ""
    release: dict[str, Any] | None = None
    model_version: str | None = None
    status: str = "empty"
    refusals: list[tuple[int, str]] = field(default_factory=list)
    deployments: int = 0

    def answer(self, method: str, path: str, authorization: str | None, body: bytes) -> tuple[int, dict[str, Any]]:
        if authorization != f"Bearer {TOKEN}":
            return 401, {"error": {"code": "unauthorized", "message": "A valid bearer token is required."}}
        if not path.startswith(f"/v1/instances/{INSTANCE}"):
            return 404, {"error": {"code": "unknown_instance", "message": "Unknown instance."}}
        if method == "POST":
            if self.refusals:
                status, message = self.refusals.pop(0)
                return status, {"error": {"code": "refused", "message": message}}
            asked = DeployRequest.model_validate_json(body)
            assert asked.release is not None
            self.release = {**asked.release.model_dump(), "index": "items-0123456789ab"}
            self.model_version, self.status = asked.model_version, "serving"
            self.deployments += 1
        return 200, {"status": self.status, "model_version": self.model_version, "release": self.release}


@pytest.fixture
def service() -> Iterator[FakeService]:
    state = FakeService()

    class Handler(BaseHTTPRequestHandler):
        def handle_call(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, document = state.answer(self.command, self.path, self.headers["Authorization"], body)
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = handle_call  # noqa: N815 - the base class finds methods by these names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def inputs(url: str = "http://10.0.0.1:8080") -> dict[str, Any]:
    return {
        "url": url,
        "instance": INSTANCE,
        "token": TOKEN,
        "release": "0123456789ab",
        "artifacts": "artifacts/abc/",
        "version": "abc",
        "model_version": "custom_v1",
        "index": "items",
        "pipeline": "ragrec-hybrid",
        "model": "custom-emb-v1",
        "authority": "",
        "patience": 5,
    }


def test_deploy_read_update_delete(service: FakeService) -> None:
    provider = ServiceDeploymentProvider()
    props = inputs(service.url)

    made = provider.create(props)

    outs = made.outs or {}
    assert (made.id, outs["live_release"], outs["physical_index"]) == (INSTANCE, "0123456789ab", "items-0123456789ab")
    assert provider.read(made.id, outs).outs == outs
    assert provider.diff(made.id, outs, props).changes is False
    newer = {**props, "release": "ba9876543210"}
    updated = provider.update(made.id, outs, newer).outs or {}
    assert updated["live_release"] == "ba9876543210"
    assert provider.update(made.id, updated, {**newer, "patience": 9}).outs == {**updated, "patience": 9}
    assert service.deployments == 2
    provider.delete(made.id, updated)
    assert service.status == "serving"


def test_another_release_by_hand_is_drift_that_an_update_repairs(service: FakeService) -> None:
    provider = ServiceDeploymentProvider()
    props = inputs(service.url)
    made = provider.create(props)
    assert service.release is not None
    service.release["id"] = "ffffffffffff"

    read = provider.read(made.id, made.outs or {}).outs or {}

    assert plan(read, props) == [
        "deploy release 0123456789ab as custom_v1 again (the service has ffffffffffff as custom_v1, serving)"
    ]
    assert (provider.update(made.id, read, props).outs or {})["live_release"] == "0123456789ab"


def test_a_service_that_boots_is_waited_for(service: FakeService) -> None:
    service.refusals = [(503, "opensearch: not reachable.")]

    assert (ServiceDeploymentProvider().create(inputs(service.url)).outs or {})["status"] == "serving"


def test_a_refusal_is_said_at_once_in_the_services_words(service: FakeService) -> None:
    service.refusals = [(409, "index 'items' was made by model version a, the endpoint serves b")]

    with pytest.raises(ServiceDeploymentError, match="409: index 'items' was made by model version a"):
        ServiceDeploymentProvider().create(inputs(service.url))


def test_read_tells_absence_from_refusal(service: FakeService) -> None:
    provider = ServiceDeploymentProvider()

    assert provider.read("other", {**inputs(service.url), "instance": "other"}).id == ""
    with pytest.raises(ServiceDeploymentError, match="401"):
        provider.read(INSTANCE, {**inputs(service.url), "token": "wrong"})
    with pytest.raises(ServiceDeploymentError, match="doesn't answer"):
        provider.read(INSTANCE, inputs(f"http://127.0.0.1:{free_port()}"))


def test_the_request_is_what_the_service_reads() -> None:
    read = DeployRequest.model_validate_json(json.dumps(request(inputs())))

    assert read.release is not None
    assert (read.service_type, read.release.id, read.release.artifacts) == (
        "recommendation",
        "0123456789ab",
        "artifacts/abc/",
    )


def test_unknown_values_pass() -> None:
    unknown = rpc.deserialize_property(rpc.UNKNOWN, True)
    provider = ServiceDeploymentProvider()

    assert provider.check({}, {**inputs(), "artifacts": unknown, "token": unknown}).failures == []
    assert provider.diff("id", inputs(), {**inputs(), "token": unknown}).changes is True


@pytest.mark.parametrize(("name", "value"), [("release", "v1"), ("artifacts", "artifacts"), ("model_version", "")])
def test_validate_names_the_property(name: str, value: str) -> None:
    assert list(validate({name: value})) == [name]
