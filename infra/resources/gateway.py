"""The inference gateway, as the managed resources call it: for the vectors of an index, and to check ml-commons."""

from __future__ import annotations

import math
import operator
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from infra.resources.opensearch import Report
from serving.clients.embeddings import Embedded, EmbeddingsError, parse

MAX_CHARACTERS = 20_000  # far beyond what an encoder reads, and below every gateway's limit


class Gateway:
    """Calls of ``POST /v1/embeddings`` over kept connections, never through a proxy; safe to share between threads.

    Args:
        properties: ``endpoint``, ``token``, ``model`` and ``authority`` of a resource.
        patience: seconds for which a call is tried again while the gateway is absent or overloaded.
    """

    def __init__(self, properties: Mapping[str, Any], *, patience: float = 120) -> None:
        self.endpoint = str(properties["endpoint"])
        self._model = str(properties["model"])
        self._patience = patience
        context = ssl.create_default_context(cadata=properties.get("authority") or None)
        self._http = httpx.Client(
            base_url=self.endpoint,
            headers={"Authorization": f"Bearer {properties['token']}"},
            timeout=httpx.Timeout(120, connect=5),
            verify=context,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def wait(self, version: str, seconds: float, report: Report) -> Embedded:
        """Waits until the gateway has a vector to give, made by model `version` (empty: any); returns that vector.

        Raises:
            EmbeddingsError: the token is refused, or the time is over; the message has the last answer.
        """
        started = told = time.monotonic()
        while True:
            try:
                probe = self._once(["a text to see the model's dimension and version"])
                if not version or probe.version == version:
                    return probe
                last = f"it serves version {probe.version}, not {version}"
            except EmbeddingsError as error:
                if not error.transient:
                    raise
                last = str(error)
            now = time.monotonic()
            if now - started > seconds:
                raise EmbeddingsError(f"{self.endpoint} isn't ready after {seconds:.0f} s: {last}")
            if now - told >= 15:
                told = now
                report(f"waiting for the gateway at {self.endpoint}, {now - started:.0f} s: {last}")
            time.sleep(2)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors of `texts`, in their order; what no encoder would read of long ones is left away.

        Raises:
            EmbeddingsError: refused, or still failing at the end.
        """
        policy = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, EmbeddingsError) and error.transient),
            stop=stop_after_delay(self._patience),
            wait=wait_exponential_jitter(multiplier=0.2, max=5),
            reraise=True,
        )
        answer: Embedded = policy(self._once, [text[:MAX_CHARACTERS] for text in texts])
        return answer

    def _once(self, texts: Sequence[str]) -> Embedded:
        try:
            reply = self._http.post("/v1/embeddings", json={"model": self._model, "input": list(texts)})
        except httpx.TransportError as error:
            raise EmbeddingsError(f"{self.endpoint} doesn't answer: {error}") from error
        if reply.status_code == 401:
            raise EmbeddingsError(f"{self.endpoint} refuses the token", status=401)
        if reply.status_code != 200:
            raise EmbeddingsError(
                f"{self.endpoint} answered {reply.status_code}: {reply.text[:200]}", status=reply.status_code
            )
        try:
            answer = reply.json()
        except ValueError as error:
            raise EmbeddingsError(f"{self.endpoint}: the answer is not JSON", status=500) from error
        return parse(answer, len(texts))


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine of the angle between two vectors; 0 when one of them is null or their lengths differ."""
    if len(a) != len(b):
        return 0.0
    norm = math.hypot(*a) * math.hypot(*b)
    return sum(map(operator.mul, a, b)) / norm if norm else 0.0
