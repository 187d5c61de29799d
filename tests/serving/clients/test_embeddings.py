from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.clients.embeddings import Embedded, Embeddings, EmbeddingsAccess, EmbeddingsError, parse
from serving.settings import SettingsError
from tests.serving.server import closed_port, running


class Endpoint:
    """Answers with the given statuses in turn, then always with vectors."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None, delay: float = 0.0) -> None:
        self.statuses = list(statuses)
        self.headers = headers or {}
        self.delay = delay
        self.bodies: list[dict[str, Any]] = []
        self.tokens: list[str] = []

    async def embed(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.tokens.append(request.headers.get("authorization", ""))
        await asyncio.sleep(self.delay)
        if self.statuses:
            status = self.statuses.pop(0)
            return JSONResponse({"error": {"message": "as the test wants it"}}, status, self.headers)
        data = [{"index": n, "embedding": [n, 0.5]} for n in reversed(range(len(body["input"])))]
        return JSONResponse({"data": data, "version": "v1"})

    @contextmanager
    def client(self, **access: Any) -> Iterator[Callable[..., Embedded]]:
        """A function that embeds."""
        with running(Starlette(routes=[Route("/v1/embeddings", self.embed, methods=["POST"])])) as url:

            async def embed(texts: list[str], **options: Any) -> Embedded:
                client = Embeddings(EmbeddingsAccess(url=url, token="t", **access))
                try:
                    return await client.embed(texts, **options)
                finally:
                    await client.close()

            yield lambda texts, **options: asyncio.run(embed(texts, **options))


def test_vectors_come_in_the_order_of_the_texts() -> None:
    endpoint = Endpoint()
    with endpoint.client(model="m") as embed:
        answer = embed(["a", "b"], kind="query")

    assert answer == Embedded([[0.0, 0.5], [1.0, 0.5]], "v1")
    assert answer.dimension == 2
    assert endpoint.bodies == [{"model": "m", "input": ["a", "b"], "input_type": "query"}]
    assert endpoint.tokens == ["Bearer t"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_absence_and_overload_are_tried_again(status: int) -> None:
    with Endpoint(status, status).client() as embed:
        assert embed(["a"]).version == "v1"


def test_the_time_that_the_server_asks_for_is_waited() -> None:
    with Endpoint(503, headers={"Retry-After": "1"}).client() as embed:
        started = time.monotonic()
        embed(["a"])

    assert time.monotonic() - started >= 1


def test_nothing_is_waited_for_beyond_the_deadline() -> None:
    with Endpoint(503, headers={"Retry-After": "30"}).client() as embed:
        started = time.monotonic()
        with pytest.raises(EmbeddingsError, match="503: as the test wants it"):
            embed(["a"], deadline=1)

    assert time.monotonic() - started < 1


@pytest.mark.parametrize("status", [400, 401, 404, 413])
def test_refusals_are_not_tried_again(status: int) -> None:
    endpoint = Endpoint(status)
    with endpoint.client() as embed, pytest.raises(EmbeddingsError) as caught:
        embed(["a"])

    assert (caught.value.status, caught.value.transient, len(endpoint.bodies)) == (status, False, 1)


def test_a_slow_endpoint_is_given_up_after_the_time_out() -> None:
    with (
        Endpoint(delay=2).client(timeout=0.2) as embed,
        pytest.raises(EmbeddingsError, match=r"no answer in 0\.2 s") as caught,
    ):
        embed(["a"], attempts=1)

    assert caught.value.transient


def test_nobody_listening_is_transient() -> None:
    async def embed() -> None:
        client = Embeddings(EmbeddingsAccess(url=f"http://127.0.0.1:{closed_port()}"))
        try:
            await client.embed(["a"], attempts=2)
        finally:
            await client.close()

    with pytest.raises(EmbeddingsError, match="not reachable") as caught:
        asyncio.run(embed())
    assert caught.value.transient


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ([], 1),
        ({}, 1),
        ({"data": [{"index": 0}]}, 1),
        ({"data": [{"index": 0, "embedding": ["x"]}]}, 1),
        ({"data": []}, 1),
        ({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}, 2),
    ],
)
def test_other_answers_are_no_embeddings(answer: Any, count: int) -> None:
    with pytest.raises(EmbeddingsError) as caught:
        parse(answer, count)
    assert not caught.value.transient


def test_a_token_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")

    assert EmbeddingsAccess(url="https://x", token_file=tmp_path / "token").secret() == "secret"
    with pytest.raises(SettingsError, match="token_file"):
        EmbeddingsAccess(url="https://x", token_file=tmp_path / "absent").secret()
    with pytest.raises(SettingsError, match="ca_file"):
        Embeddings(EmbeddingsAccess(url="https://x", ca_file=tmp_path / "absent"))
