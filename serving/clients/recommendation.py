"""The recommendation API, as an application calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import httpx


class RecommendationError(Exception):
    """The API refused or can't be reached; the message has its own words."""


class RecommendationClient:
    """Calls ``/v1/instances/{instance}`` of one service.

    Args:
        endpoint: ``http://host:port``.
        instance: the service's instance id.
        token: bearer token, where reading needs one.
        timeout: seconds for one call.
    """

    def __init__(self, endpoint: str, instance: str, *, token: str | None = None, timeout: float = 10.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # The service's address is in the VPC: never through a proxy.
        self._http = httpx.Client(
            base_url=f"{endpoint}/v1/instances/{instance}", headers=headers, timeout=timeout, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def recommend(
        self, *, user_id: str | None = None, query: str | None = None, k: int = 10, explain: bool = False
    ) -> dict[str, Any]:
        """Personalised items.

        Raises:
            RecommendationError: refused, or not reachable.
        """
        return self._get("/recommend", {"user_id": user_id, "query": query, "k": k, "explain": explain or None})

    def describe(self) -> dict[str, Any]:
        """What is deployed.

        Raises:
            RecommendationError: refused, or not reachable.
        """
        return self._get("", {})

    def _get(self, path: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in parameters.items() if value is not None}
        try:
            reply = self._http.get(path, params=given)
        except httpx.HTTPError as error:
            raise RecommendationError(f"{self._http.base_url}{path} can't be reached: {error}") from error
        if reply.is_error:
            raise RecommendationError(f"{reply.request.url} answered {reply.status_code}: {reply.text[:300]}")
        document: dict[str, Any] = reply.json()
        return document
