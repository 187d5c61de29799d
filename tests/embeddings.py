"""A gateway for tests: speaks the contract of `POST /v1/embeddings` over TLS, with vectors made of hashed words."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
import ssl
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.resources.credentials import Pair, issue
from tests.opensearch import Node

DIMENSION = 32
MODEL = "custom-emb-v1"


def vector(text: str, dimension: int = DIMENSION) -> list[float]:
    """A unit vector: the sum of a fixed direction for each word."""
    total = [0.0] * dimension
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.shake_128(word.encode()).digest(dimension)
        for position, byte in enumerate(digest):
            total[position] += byte - 127.5
    norm = math.hypot(*total)
    return [value / norm for value in total]


@dataclass
class FakeGateway:
    """What tests may change while it runs, and what it was asked."""

    authority: Pair
    token: str = "test-token"
    version: str = "a" * 64
    failures: list[int] = field(default_factory=list)  # statuses of the next answers
    texts: list[str] = field(default_factory=list)
    url: str = ""
    drift: float = 0.0  # added to every vector's first number: a model that changed unnoticed

    def answer(self, authorization: str | None, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and document of a call."""
        if self.failures:
            return self.failures.pop(0), {"error": {"message": "as the test wanted"}}
        if authorization != f"Bearer {self.token}":
            return 401, {"error": {"message": "A valid bearer token is required."}}
        if body["model"] != MODEL:
            return 404, {"error": {"message": f"no model {body['model']!r}"}}
        texts: Sequence[str] = [body["input"]] if isinstance(body["input"], str) else body["input"]
        self.texts += texts
        data = []
        for index, text in enumerate(texts):
            found = vector(text)
            found[0] += self.drift
            data.append({"object": "embedding", "index": index, "embedding": found})
        return 200, {"object": "list", "model": MODEL, "version": self.version, "data": data}


@contextmanager
def fake_gateway(authority: Pair) -> Iterator[FakeGateway]:
    """Serves on a free port of the loopback with a certificate of `authority`."""
    gateway = FakeGateway(authority)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, document = gateway.answer(self.headers["Authorization"], body)
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # clients that hang up

    server = Server(("127.0.0.1", 0), Handler)
    with tempfile.TemporaryDirectory() as folder:
        pair = issue(authority, "gateway", ["127.0.0.1"], dt.datetime.now(dt.UTC))
        chain = Path(folder, "chain.pem")
        chain.write_text(pair.certificate + pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    gateway.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def gateway(opensearch: Node) -> Iterator[FakeGateway]:
    """A gateway that the node trusts."""
    assert opensearch.authority is not None
    with fake_gateway(opensearch.authority) as running:
        yield running
