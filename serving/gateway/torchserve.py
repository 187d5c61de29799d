"""TorchServe as the model server behind the gateway. Another model server needs only another `embed`."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx

from serving.gateway.settings import TorchServe as Settings

log = logging.getLogger("ragrec.gateway")

Kind = Literal["query", "document"]


class BackendError(Exception):
    """The model server gave no vectors."""

    def __init__(self, message: str, *, status: int, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status  # what the gateway answers: 502, 503 or 504
        self.retry_after = retry_after  # seconds


@dataclass(frozen=True)
class Embeddings:
    """Vectors of one model version, in the order of the texts."""

    vectors: list[list[float]]
    version: str  # artifact digest


class Keys:
    """TorchServe's tokens, which it writes to a file at its start and which expire."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inference = ""

    async def inference(self, *, fresh: bool = False) -> str:
        """The token for predictions; from the file when there is none yet or `fresh` is asked for.

        Raises:
            BackendError: there is no readable file: TorchServe has not started yet.
        """
        if fresh or not self._inference:
            self._inference = str((await self.read())["inference"]["key"])
        return self._inference

    async def read(self) -> dict[str, Any]:
        """The file's content.

        Raises:
            BackendError: there is no readable file.
        """
        try:
            content = json.loads(await asyncio.to_thread(self._path.read_text, "utf-8"))
            content["inference"]["key"], content["API"]["key"]  # shape checked here, once
        except OSError as error:
            raise BackendError(f"the model server's key file: {error}", status=503, retry_after=5) from None
        except (ValueError, KeyError, TypeError):
            raise BackendError(f"{self._path} is not a key file of TorchServe", status=503, retry_after=5) from None
        return dict(content)


def expired(keys: dict[str, Any], now: float) -> bool:
    """Whether the inference token of a key file has ended; `now` in seconds since 1970.

    TorchServe writes ``2026-01-31T10:15:30.123456789Z``.
    """
    text = str(keys["inference"].get("expiration time", ""))
    try:
        end = datetime.fromisoformat(text.split(".")[0].rstrip("Z")).replace(tzinfo=UTC)
    except ValueError:
        return False
    return end.timestamp() <= now


def parse(body: bytes, count: int) -> Embeddings:
    """Reads the handler's answer.

    Raises:
        BackendError: it is not ``{"embeddings": [[...], ...], "version": "..."}`` with one vector a text.
    """
    try:
        answer = json.loads(body)
        vectors, version = answer["embeddings"], answer["version"]
    except (ValueError, KeyError, TypeError):
        raise BackendError("the model server's answer is not what its handler writes", status=502) from None
    if not isinstance(vectors, list) or len(vectors) != count or not all(isinstance(v, list) for v in vectors):
        raise BackendError(f"the model server answered {len(vectors)} vectors for {count} texts", status=502)
    return Embeddings(vectors, str(version))


class TorchServe:
    """Asks TorchServe for vectors: chunks large inputs, keeps connections, renews tokens."""

    def __init__(self, model: str, settings: Settings) -> None:
        self._path = f"{settings.inference}/predictions/{model}"
        self._settings = settings
        self._keys = Keys(settings.key_file) if settings.key_file else None
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._outstanding = 0
        self._renewal = asyncio.Lock()
        self._client = httpx.AsyncClient(
            trust_env=False,  # never through a proxy: it is on loopback
            timeout=httpx.Timeout(settings.timeout, connect=2.0),
            limits=httpx.Limits(max_connections=settings.concurrency + 2, keepalive_expiry=30.0),
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    @property
    def outstanding(self) -> int:
        """Chunks in work or waiting."""
        return self._outstanding

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Embeddings:
        """The vectors of `texts`, all of one model version.

        Raises:
            BackendError: the model server is absent, busy, slow or wrong.
        """
        size = self._settings.chunk
        chunks = [texts[start : start + size] for start in range(0, len(texts), size)]
        if (
            self._outstanding
            and self._outstanding + len(chunks) > self._settings.concurrency + self._settings.waiting
        ):
            raise BackendError("the model server has too many requests waiting", status=503, retry_after=1)
        for _ in range(2):
            parts = await self._all(chunks, kind)
            if len({part.version for part in parts}) == 1:
                return Embeddings([vector for part in parts for vector in part.vectors], parts[0].version)
            # The model was switched while the chunks were under way: vectors of two models must not mix.
        raise BackendError("the model is being switched", status=503, retry_after=1)

    async def _all(self, chunks: Sequence[Sequence[str]], kind: Kind) -> list[Embeddings]:
        self._outstanding += len(chunks)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._chunk(chunk, kind)) for chunk in chunks]
        except* BackendError as errors:
            first = errors.exceptions[0]
            assert isinstance(first, BackendError)
            raise first from None
        finally:
            self._outstanding -= len(chunks)
        return [task.result() for task in tasks]

    async def _chunk(self, texts: Sequence[str], kind: Kind) -> Embeddings:
        async with self._slots:
            response = await self._predict(texts, kind, fresh=False)
            if self._keys and _token_refused(response):
                await self._renew()
                response = await self._predict(texts, kind, fresh=True)
        _check(response)
        return parse(response.content, len(texts))

    async def _predict(self, texts: Sequence[str], kind: Kind, *, fresh: bool) -> httpx.Response:
        headers = {}
        if self._keys:
            headers["Authorization"] = f"Bearer {await self._keys.inference(fresh=fresh)}"
        try:
            return await self._client.post(self._path, json={"input": list(texts), "kind": kind}, headers=headers)
        except httpx.TimeoutException:
            raise BackendError(
                f"the model server did not answer in {self._settings.timeout:g} s", status=504
            ) from None
        except httpx.TransportError as error:
            raise BackendError(f"the model server is not reachable: {error}", status=503, retry_after=5) from None

    async def _renew(self) -> None:
        """Has TorchServe write a new inference token when the one in its file has expired."""
        assert self._keys is not None
        async with self._renewal:
            keys = await self._keys.read()
            if not expired(keys, time.time()):
                return  # TorchServe was restarted, or another request has renewed it
            log.info("renewing TorchServe's inference token")
            try:
                response = await self._client.get(
                    f"{self._settings.management}/token",
                    params={"type": "inference"},
                    headers={"Authorization": f"Bearer {keys['API']['key']}"},
                )
            except httpx.TransportError as error:
                raise BackendError(f"TorchServe's token API: {error}", status=503, retry_after=5) from None
            if response.status_code != 200:
                raise BackendError(
                    f"TorchServe did not renew its token: {response.status_code}", status=503, retry_after=5
                )


def _token_refused(response: httpx.Response) -> bool:
    return response.status_code in {400, 401, 403} and b"InvalidKeyException" in response.content


def _check(response: httpx.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    log.warning("TorchServe answered %d: %s", status, response.text[:500])
    if status == 404:
        raise BackendError("the model is not loaded", status=503, retry_after=5)
    if status in {408, 500} and b"timeout" in response.content.lower():
        raise BackendError("the model did not answer in time", status=504)
    if status in {429, 503, 507}:
        raise BackendError("the model has no worker that is free", status=503, retry_after=2)
    raise BackendError(f"the model server answered {status}", status=502)
