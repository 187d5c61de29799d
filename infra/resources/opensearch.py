"""Connections of the managed resources to OpenSearch: TLS with the stack's authority, retries, errors in one line."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pulumi
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionError as Unreachable
from opensearchpy.exceptions import TransportError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from serving.clients.opensearch import reason

Report = Callable[[str], None]
Document = dict[str, Any]
# The client warns of every 404 on its own; what matters is raised.
logging.getLogger("opensearch").setLevel(logging.ERROR)

CONNECTION = ("url", "authority", "user", "password")
"""Names of the inputs that every resource in OpenSearch has."""


@dataclass(frozen=True)
class ConnectionArgs:
    """Where OpenSearch is and who asks.

    Attributes:
        url: ``https://address:9200``.
        authority: PEM of the authority that signed its certificate; empty: the system's roots.
        user: who logs in; empty: nobody does.
        password: the user's.
    """

    url: pulumi.Input[str]
    authority: pulumi.Input[str]
    user: pulumi.Input[str]
    password: pulumi.Input[str]

    def properties(self) -> dict[str, Any]:
        """As inputs of a resource: what is secret is marked."""
        return {
            "url": self.url,
            "authority": self.authority,
            "user": self.user,
            "password": pulumi.Output.secret(self.password),
        }


class OpenSearchError(Exception):
    """A call that failed or was refused, in one line; `status` is 0 when no answer came."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def transient(self) -> bool:
        """The same call may succeed a moment later."""
        return self.status in {0, 429, 502, 503, 504}


class Cluster:
    """Calls to a cluster with the settings of a resource's properties; never through a proxy.

    Args:
        properties: `CONNECTION` of a resource.
        patience: seconds for which a call is tried again while the cluster is absent or overloaded.
        timeout: seconds that one attempt may take.
    """

    def __init__(self, properties: Mapping[str, Any], *, patience: float = 60, timeout: float = 30) -> None:
        self.url = str(properties["url"])
        self._patience = patience
        context = None
        if self.url.startswith("https:"):
            context = ssl.create_default_context(cadata=properties.get("authority") or None)
        user = properties.get("user")
        self._client = OpenSearch(
            hosts=[self.url],
            http_auth=(str(user), str(properties["password"])) if user else None,
            ssl_context=context,
            timeout=timeout,
            max_retries=0,
        )

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        patience: float | None = None,
    ) -> Document:
        """The answer to a call; absence, overload and 5xx of proxies are tried again with growing pauses.

        Raises:
            OpenSearchError: refused, or still failing at the end.
        """
        policy = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, OpenSearchError) and error.transient),
            stop=stop_after_delay(self._patience if patience is None else patience),
            wait=wait_exponential_jitter(multiplier=0.2, max=5),
            reraise=True,
        )
        answer: Document = policy(self._once, method, path, body, parameters)
        return answer

    def find(self, path: str) -> Document | None:
        """The answer to a GET, or None when there is no such thing.

        Raises:
            OpenSearchError: in every other case that isn't success.
        """
        try:
            return self.call("GET", path)
        except OpenSearchError as error:
            if error.status == 404:
                return None
            raise

    def remove(self, path: str) -> bool:
        """Deletes what is at `path`; False when it was not there.

        Raises:
            OpenSearchError: refused, or still failing at the end.
        """
        try:
            self.call("DELETE", path)
        except OpenSearchError as error:
            if error.status == 404:
                return False
            raise
        return True

    def bulk(self, lines: Sequence[Any]) -> None:
        """Sends lines of a bulk request: actions and documents alternate. Those refused for overload are sent again.

        Raises:
            OpenSearchError: a document was refused (the first one is named), or the cluster stayed overloaded.
        """
        rest = list(lines)
        deadline = time.monotonic() + self._patience
        pause = 0.2
        while True:
            answer = self.call("POST", "/_bulk", "".join(json.dumps(line) + "\n" for line in rest))
            overloaded: list[Any] = []
            for position, item in enumerate(answer["items"]):
                (outcome,) = item.values()
                if outcome["status"] == 429:
                    overloaded += rest[2 * position : 2 * position + 2]
                elif outcome["status"] >= 300:
                    cause = outcome.get("error", {})
                    raise OpenSearchError(
                        f"document {outcome['_id']!r} of {outcome['_index']} was refused: {_cause(cause)}",
                        outcome["status"],
                    )
            if not overloaded:
                return
            if time.monotonic() > deadline:
                raise OpenSearchError(f"{self.url} stayed overloaded for {self._patience:.0f} s", 429)
            rest = overloaded
            time.sleep(pause)
            pause = min(2 * pause, 5)

    def wait(self, seconds: float, report: Report) -> None:
        """Returns when the cluster answers the user, and every shard has its primary; instances take minutes to boot.

        Raises:
            OpenSearchError: the user is refused, or the time is over; the message has the last answer.
        """
        started = time.monotonic()
        told = started

        def tell(state: RetryCallState) -> None:
            nonlocal told
            if time.monotonic() - told >= 15 and state.outcome is not None:
                told = time.monotonic()
                report(f"waiting for OpenSearch at {self.url}, {told - started:.0f} s: {state.outcome.exception()}")

        policy = Retrying(
            # The plugin answers 401 or 503 until it has read its users.
            retry=retry_if_exception(
                lambda error: (
                    isinstance(error, OpenSearchError)
                    and (error.transient or (error.status in {401, 403} and time.monotonic() - started < 30))
                )
            ),
            stop=stop_after_delay(seconds),
            wait=wait_exponential_jitter(multiplier=0.5, max=5),
            before_sleep=tell,
            reraise=True,
        )
        try:
            policy(self._healthy)
        except OpenSearchError as error:
            if error.transient:
                message = f"OpenSearch at {self.url} isn't ready after {seconds:.0f} s: {error}"
                raise OpenSearchError(message, error.status) from error
            raise

    def _healthy(self) -> None:
        answer = self._once("GET", "/_cluster/health", None, {"wait_for_status": "yellow", "timeout": "5s"})
        if answer.get("timed_out"):
            raise OpenSearchError(f"the cluster is {answer['status']}", 503)

    def _once(self, method: str, path: str, body: Any, parameters: Mapping[str, Any] | None) -> Document:
        try:
            # In the path, for the client keeps a parameter named timeout to itself.
            query = f"?{urlencode(parameters)}" if parameters else ""
            answer: Document = self._client.transport.perform_request(method, path + query, body=body)
        except Unreachable as error:
            raise OpenSearchError(f"{method} {path}: {self.url} doesn't answer: {error.error}") from error
        except TransportError as error:
            status = error.status_code if isinstance(error.status_code, int) else 0
            if status == 401:
                raise OpenSearchError(f"{method} {path}: OpenSearch refuses user and password", 401) from error
            raise OpenSearchError(f"{method} {path}: {reason(error)}", status) from error
        return answer


def _cause(error: Mapping[str, Any]) -> str:
    causes = []
    cause: Any = error
    while isinstance(cause, Mapping):
        causes.append(f"{cause.get('type')}: {cause.get('reason')}")
        cause = cause.get("caused_by")
    return "; ".join(causes)
