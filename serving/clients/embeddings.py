"""Client of an embeddings endpoint in OpenAI's shape, such as the inference gateway."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import httpx
from pydantic import Field, model_validator
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)

from serving.settings import Seconds, Section, SettingsError, Url


class EmbeddingsAccess(Section):
    """Where the embeddings endpoint is and who asks."""

    url: Url  # without /v1/embeddings
    model: Annotated[str, Field(min_length=1)] = "custom-emb-v1"
    token: str = ""
    token_file: Path | None = None  # instead of `token`
    ca_file: Path | None = None  # PEM; without it the system's roots
    timeout: Seconds = 5.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.token and self.token_file:
            raise ValueError("give token or token_file, not both")
        return self

    def secret(self) -> str:
        """The token.

        Raises:
            SettingsError: its file cannot be read.
        """
        if self.token_file is None:
            return self.token
        try:
            return self.token_file.read_text("utf-8").strip()
        except OSError as error:
            raise SettingsError(f"embeddings.token_file: {error}") from None


class EmbeddingsError(Exception):
    """No vectors came."""

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status  # HTTP status, 0 when there was no answer
        self.retry_after = retry_after  # seconds that the server asked to wait

    @property
    def transient(self) -> bool:
        """The same call may succeed a moment later."""
        return self.status in {0, 429, 502, 503, 504}


@dataclass(frozen=True)
class Embedded:
    """Vectors in the order of the texts, and the model version they come from."""

    vectors: list[list[float]]
    version: str

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return len(self.vectors[0])


def parse(answer: Any, count: int) -> Embedded:
    """Reads an answer in OpenAI's shape.

    Raises:
        EmbeddingsError: it has another shape or another number of vectors.
    """
    try:
        entries = sorted(answer["data"], key=lambda entry: entry["index"])
        vectors = [[float(x) for x in entry["embedding"]] for entry in entries]
        version = str(answer.get("version", ""))
    except (KeyError, TypeError, ValueError):
        raise EmbeddingsError("the answer is not a list of embeddings", status=500) from None
    if len(vectors) != count or len({len(vector) for vector in vectors}) != 1:
        raise EmbeddingsError(f"{len(vectors)} vectors for {count} texts, or of unequal length", status=500)
    return Embedded(vectors, version)


class Embeddings:
    """Asks an endpoint for vectors over kept connections, never through a proxy.

    Raises:
        SettingsError: token or CA file cannot be read.
    """

    def __init__(self, access: EmbeddingsAccess, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        try:
            context = ssl.create_default_context(cafile=access.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"embeddings.ca_file: {access.ca_file}: {error}") from None
        token = access.secret()
        self._model = access.model
        self._timeout = access.timeout
        self._client = httpx.AsyncClient(
            base_url=access.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(access.timeout, connect=min(2.0, access.timeout)),
            verify=context,
            trust_env=False,
            transport=transport,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def embed(
        self,
        texts: Sequence[str],
        *,
        kind: Literal["query", "document"] = "document",
        model: str | None = None,
        attempts: int = 3,
        deadline: float | None = None,
    ) -> Embedded:
        """The vectors of `texts`.

        Args:
            texts: what to embed; the endpoint splits long lists itself.
            kind: what the texts are, for models that embed queries in another way.
            model: another one than the access names.
            attempts: how often at most; only absence, overload and time-outs are tried again.
            deadline: seconds for all attempts together, by default twice the time-out of one.

        Raises:
            EmbeddingsError: refused, or still failing at the end.
        """
        end = time.monotonic() + (2 * self._timeout if deadline is None else deadline)
        policy = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, EmbeddingsError) and error.transient),
            stop=lambda state: stop_after_attempt(attempts)(state) or time.monotonic() + _pause(state) >= end,
            wait=_pause,
            reraise=True,
        )
        body = {"model": model or self._model, "input": list(texts), "input_type": kind}
        return await policy(self._once, body, end)

    async def _once(self, body: dict[str, Any], end: float) -> Embedded:
        left = max(0.05, min(self._timeout, end - time.monotonic()))
        try:
            response = await self._client.post("/v1/embeddings", json=body, timeout=left)
        except httpx.TimeoutException:
            raise EmbeddingsError(f"no answer in {left:.1f} s") from None
        except httpx.TransportError as error:
            raise EmbeddingsError(f"not reachable: {error}") from None
        if response.status_code != 200:
            raise EmbeddingsError(
                f"{response.status_code}: {_message(response)}",
                status=response.status_code,
                retry_after=_retry_after(response),
            )
        try:
            answer = response.json()
        except ValueError:
            raise EmbeddingsError("the answer is not JSON", status=500) from None
        return parse(answer, len(body["input"]))


_backoff = wait_exponential(multiplier=0.1, max=5.0)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, EmbeddingsError) else None
    return _backoff(state) if asked is None else asked


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else None
