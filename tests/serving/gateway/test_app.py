"""The gateway as a server, over TLS, in front of a stand-in for TorchServe."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import re
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving.gateway.app import application
from serving.gateway.settings import Settings
from serving.tokens import digest
from tests.serving.server import closed_port, running
from tests.serving.torchserve import DIMENSION, TorchServe, vector

TOKEN, SECOND = "first-token", "second-token"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Shared]:
    """One gateway in front of one model server for all tests that need nothing special."""
    torchserve = TorchServe(tmp_path_factory.mktemp("torchserve") / "key_file.json")
    with (
        running(torchserve.app()) as backend,
        running_gateway(settings(backend, torchserve, certificate), certificate) as url,
    ):
        yield Shared(torchserve, url, trusting(certificate))


@pytest.fixture
def torchserve(shared: Shared) -> TorchServe:
    shared.torchserve.reset()
    return shared.torchserve


@pytest.fixture
def gateway(shared: Shared, torchserve: TorchServe) -> Iterator[httpx.Client]:
    with connected(shared.url, shared.context) as client:
        yield client


@dataclass(frozen=True)
class Shared:
    """What the tests share."""

    torchserve: TorchServe
    url: str
    context: ssl.SSLContext


def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


def running_gateway(settings: Settings, certificate: tuple[Path, Path]) -> AbstractContextManager[str]:
    return running(application(settings), certificate=certificate[0], key=certificate[1])


def connected(url: str, context: ssl.SSLContext) -> httpx.Client:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.Client(base_url=url, verify=context, headers=headers, trust_env=False, timeout=20)


@contextmanager
def serve(settings: Settings, certificate: tuple[Path, Path]) -> Iterator[httpx.Client]:
    """A client of a gateway of its own."""
    with running_gateway(settings, certificate) as url, connected(url, trusting(certificate)) as client:
        yield client


def settings(backend: str, torchserve: TorchServe, certificate: tuple[Path, Path], **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "listen": {
                "address": "127.0.0.1",
                "port": 0,
                "tls": {"certificate": certificate[0], "key": certificate[1]},
            },
            "tokens": ({"name": "a", "sha256": digest(TOKEN)}, {"name": "b", "sha256": digest(SECOND)}),
            "torchserve": {
                "inference": backend,
                "management": backend,
                "key_file": torchserve.key_file,
                "timeout": 1.0,
                **more,
            },
            "limits": {"inputs": 200, "characters": 100, "body": 20_000},
        }
    )


def embed(client: httpx.Client, texts: Any, **more: Any) -> httpx.Response:
    return client.post("/v1/embeddings", json={"model": "custom-emb-v1", "input": texts, **more})


def test_vectors_come_in_openais_shape_with_the_version(gateway: httpx.Client) -> None:
    answer = embed(gateway, ["one", "two"])

    assert answer.status_code == 200
    assert answer.json() == {
        "object": "list",
        "model": "custom-emb-v1",
        "version": "v1",
        "data": [
            {"object": "embedding", "index": 0, "embedding": vector("one")},
            {"object": "embedding", "index": 1, "embedding": vector("two")},
        ],
    }


def test_one_text_may_come_without_a_list_and_vectors_as_base64(gateway: httpx.Client) -> None:
    answer = embed(gateway, "one", encoding_format="base64", dimensions=DIMENSION)

    decoded = struct.unpack(f"<{DIMENSION}f", base64.b64decode(answer.json()["data"][0]["embedding"]))
    assert decoded == pytest.approx(vector("one"))


def test_large_inputs_are_split_and_keep_their_order(gateway: httpx.Client, torchserve: TorchServe) -> None:
    texts = [f"text {n}" for n in range(150)]

    answer = embed(gateway, texts).json()

    assert sorted(torchserve.calls) == [22, 64, 64]
    assert [entry["embedding"] for entry in answer["data"]] == [vector(text) for text in texts]


@pytest.mark.parametrize("token", [TOKEN, SECOND])
def test_several_tokens_are_valid_at_once(gateway: httpx.Client, token: str) -> None:
    assert gateway.get("/v1/models", headers={"Authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic Zmlyc3Q="}])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/custom-emb-v1", "/metrics", "/openapi.json", "/other"])
def test_without_a_token_nothing_but_the_probes_answers(
    gateway: httpx.Client, header: dict[str, str], path: str
) -> None:
    del gateway.headers["Authorization"]

    answer = gateway.get(path, headers=header)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert gateway.get("/healthz").json() == {"status": "ok"}
    assert gateway.get("/readyz").json() == {"status": "ready", "model": "custom-emb-v1"}


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({"model": "gpt", "input": "a"}, 404, "model_not_found", "this gateway serves 'custom-emb-v1'"),
        ({"input": "a"}, 400, "invalid_value", "model: Field required"),
        ({"model": "custom-emb-v1"}, 400, "invalid_value", "input: Field required"),
        ({"model": "custom-emb-v1", "input": [1, 2]}, 400, "invalid_value", "input: Input should be a valid string"),
        ({"model": "custom-emb-v1", "input": []}, 400, "empty_input", "empty list"),
        ({"model": "custom-emb-v1", "input": ["a", " "]}, 400, "empty_input", r"input\[1\] is empty"),
        ({"model": "custom-emb-v1", "input": ["a"] * 201}, 400, "too_many_inputs", "201 texts; at most 200"),
        (
            {"model": "custom-emb-v1", "input": "a" * 101},
            400,
            "string_above_max_length",
            r"input\[0\] has 101 characters; at most 100",
        ),
        ({"model": "custom-emb-v1", "input": "a", "dimensions": 3}, 400, "unsupported_value", "8 dimensions"),
        ({"model": "custom-emb-v1", "input": "a", "temperature": 1}, 400, "invalid_value", "temperature"),
        ({"model": "custom-emb-v1", "input": "a" * 30_000}, 413, "request_too_large", "over 20,000 bytes"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    gateway: httpx.Client, body: dict[str, Any], status: int, code: str, message: str
) -> None:
    answer = gateway.post("/v1/embeddings", json=body)

    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert re.search(message, error["message"])
    assert error["type"] == "invalid_request_error"


def test_a_body_that_is_not_json_is_refused(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/embeddings", content='{"model": ', headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


def test_a_body_of_unknown_length_is_limited_too(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/embeddings", content=(b"x" * 1000 for _ in range(50)))

    assert answer.status_code == 413


def test_a_restarted_torchserve_has_a_new_token_in_its_file(gateway: httpx.Client, torchserve: TorchServe) -> None:
    assert embed(gateway, "one").status_code == 200

    torchserve.renew(valid=3600)

    assert embed(gateway, "one").status_code == 200
    assert torchserve.renewals == 0


def test_an_expired_token_is_renewed_once(gateway: httpx.Client, torchserve: TorchServe) -> None:
    assert embed(gateway, "one").status_code == 200

    torchserve.expire()
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(embed(gateway, "one").status_code)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [200] * 4
    assert torchserve.renewals == 1


def test_vectors_of_two_model_versions_never_mix(gateway: httpx.Client, torchserve: TorchServe) -> None:
    torchserve.switch_after = 1  # in the middle of the first request

    answer = embed(gateway, [f"text {n}" for n in range(150)])

    assert answer.status_code == 200
    assert answer.json()["version"] == "v2"
    assert sum(torchserve.calls) == 300


@pytest.mark.parametrize(
    ("status", "answered", "retry"), [(503, 503, "2"), (507, 503, "2"), (404, 503, "5"), (500, 502, None)]
)
def test_failures_of_torchserve_become_the_gateways(
    gateway: httpx.Client, torchserve: TorchServe, status: int, answered: int, retry: str | None
) -> None:
    torchserve.status = status

    answer = embed(gateway, "one")

    assert (answer.status_code, answer.headers.get("retry-after")) == (answered, retry)
    assert answer.json()["error"]["type"] == "server_error"


def test_a_slow_model_is_a_gateway_timeout(gateway: httpx.Client, torchserve: TorchServe) -> None:
    torchserve.delay = 1.5

    assert embed(gateway, "one").status_code == 504


def test_while_torchserve_is_down_the_gateway_is_alive_but_not_ready(
    torchserve: TorchServe, certificate: tuple[Path, Path]
) -> None:
    with serve(settings(f"http://127.0.0.1:{closed_port()}", torchserve, certificate), certificate) as client:
        assert client.get("/healthz").status_code == 200
        for answer in (client.get("/readyz"), embed(client, "one")):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "not reachable" in answer.json()["error"]["message"]


def test_before_torchserve_has_written_its_key_file_the_gateway_is_not_ready(
    torchserve: TorchServe, certificate: tuple[Path, Path]
) -> None:
    torchserve.key_file.unlink()
    with (
        running(torchserve.app()) as backend,
        serve(settings(backend, torchserve, certificate), certificate) as client,
    ):
        assert client.get("/readyz").status_code == 503
        torchserve.renew(valid=3600)
        assert client.get("/readyz").status_code == 200


def test_more_waiting_than_allowed_is_refused_at_once(torchserve: TorchServe, certificate: tuple[Path, Path]) -> None:
    torchserve.delay = 0.5
    with (
        running(torchserve.app()) as backend,
        serve(settings(backend, torchserve, certificate, concurrency=1, waiting=1), certificate) as client,
    ):
        answers: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(embed(client, "one"))) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]


def test_metrics_count_requests_by_route(gateway: httpx.Client) -> None:
    def counted() -> list[float]:
        text = gateway.get("/metrics").text
        names = (
            r'ragrec_http_request_seconds_count\{method="POST",route="/v1/embeddings",status="200"\}',
            "ragrec_gateway_texts_total",
        )
        return [sum(map(float, re.findall(rf"^{name} (\S+)$", text, re.MULTILINE))) for name in names]

    before = counted()
    embed(gateway, ["one", "two"])

    assert counted() == [before[0] + 1, before[1] + 2]


def test_a_request_keeps_its_id(gateway: httpx.Client) -> None:
    assert gateway.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert len(gateway.get("/healthz", headers={"X-Request-Id": "a b"}).headers["x-request-id"]) == 32
