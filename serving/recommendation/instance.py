"""The served instance: deploys releases, one at a time, and holds the one in use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from opensearchpy import AsyncOpenSearch
from pydantic import BaseModel, ConfigDict, Field

from serving.clients.embeddings import Embeddings
from serving.recommendation.deployments import Deployment, History, Journal, StateError
from serving.recommendation.errors import ServiceError
from serving.recommendation.release import Loaded, Name, Prefix, Release, Source, load, verified
from serving.recommendation.settings import Settings

log = logging.getLogger("ragrec.deployment")

SERVICE_TYPES = ("recommendation",)
_RETRY = 10.0  # seconds between attempts to load a deployed release after a start


class ReleaseRequest(BaseModel):
    """The parts of a release; what is left out comes from the settings."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", description="Release id: 12 hex digits.")]
    artifacts: Annotated[Prefix | None, Field(description="Prefix in the artifacts' bucket, with a slash.")] = None
    index: Annotated[Name | None, Field(description="Items index, or an alias of it.")] = None
    pipeline: Annotated[Name | None, Field(description="Search pipeline with the weights.")] = None
    model: Annotated[Name | None, Field(description="Model at the embeddings endpoint.")] = None
    version: Annotated[str, Field(max_length=128, description="Version that the endpoint must serve.")] = ""


class DeployRequest(BaseModel):
    """The body of ``POST /v1/instances/{id}/deploy``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    service_type: Annotated[str, Field(max_length=64, examples=["recommendation"])]
    model_version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=["custom_v1"])]
    release: ReleaseRequest | None = None


class Instance:
    """What is deployed, and the way to change it."""

    def __init__(
        self,
        settings: Settings,
        client: AsyncOpenSearch,
        embeddings: Embeddings,
        source: Source,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._client = client
        self._embeddings = embeddings
        self._source = source
        self._clock = clock
        self._journal = Journal(settings.state)
        self._history = History()
        self._loaded: Loaded | None = None
        self._trouble = ""  # why the deployed release isn't loaded
        self._turn = asyncio.Lock()

    @property
    def _cache(self) -> Path:
        return self._settings.state / "artifacts"

    async def restore(self) -> None:
        """Takes up the release that was deployed before the process started; tries until it can."""
        while True:
            try:
                async with self._turn:
                    if self._loaded is not None:
                        return
                    self._history = await asyncio.to_thread(self._journal.read)
                    current = self._history.current
                    if current is None:
                        return
                    self._loaded = await asyncio.to_thread(load, current.release, self._source, self._cache)
                log.info("serving release %s again", current.release.id)
                self._trouble = ""
                return
            except (ServiceError, StateError) as error:
                self._trouble = str(error)
                log.error("the deployed release cannot be loaded: %s", error)
            await asyncio.sleep(_RETRY)

    def loaded(self) -> Loaded:
        """What answers are made from.

        Raises:
            ServiceError: nothing is deployed, or not loaded yet.
        """
        if self._loaded is not None:
            return self._loaded
        if self._history.current is None:
            raise ServiceError(
                503,
                "not_deployed",
                f"Nothing is deployed: POST /v1/instances/{self._settings.instance}/deploy first."
                + (f" ({self._trouble})" if self._trouble else ""),
                headers={"Retry-After": "10"},
            )
        raise ServiceError(
            503,
            "not_loaded",
            f"The deployed release is not loaded{f': {self._trouble}' if self._trouble else ' yet'}.",
            headers={"Retry-After": "10"},
        )

    async def deploy(self, request: DeployRequest) -> dict[str, Any]:
        """Checks a release and switches to it; requests under way finish with the one that they began with.

        Returns:
            The instance's description, with ``changed``.

        Raises:
            ServiceError: unknown, unavailable, or its parts don't agree; what was served goes on being served.
        """
        async with self._turn:
            wanted = resolve(request, self._history, self._settings)
            release = await verified(wanted, self._client, self._embeddings)
            current = self._history.current
            unchanged = current and (current.model_version, current.release) == (request.model_version, release)
            if unchanged and self._loaded:
                return {**self.describe(), "changed": False}
            loaded = await asyncio.to_thread(load, release, self._source, self._cache)
            deployment = Deployment(
                model_version=request.model_version, release=release, deployed_at=self._clock().replace(microsecond=0)
            )
            history = self._history.then(deployment)
            try:
                await asyncio.to_thread(self._journal.write, history)
            except StateError as error:
                raise ServiceError(507, "state_not_writable", str(error)) from error
            self._history, self._loaded, self._trouble = history, loaded, ""
            log.info("serving release %s as %s", release.id, request.model_version)
            return {**self.describe(), "changed": True}

    def describe(self) -> dict[str, Any]:
        """What is deployed and how it is doing."""
        current = self._history.current
        status = "serving" if self._loaded else "loading" if current else "empty"
        recalls = ["hybrid", "semantic_recall", "item_to_item", "collaborative", "popularity"]
        return {
            "instance": self._settings.instance,
            "region": self._settings.region,
            "service_type": SERVICE_TYPES[0],
            "status": "failed" if self._trouble else status,
            **({"reason": self._trouble} if self._trouble else {}),
            "model_version": current.model_version if current else None,
            "release": current.release.model_dump() if current else None,
            "deployed_at": current.deployed_at if current else None,
            "recalls": [*recalls, "airec"] if self._settings.airec else recalls,
            "model_versions": self._history.labels,
            "previous": [
                {"model_version": d.model_version, "release": d.release.id, "deployed_at": d.deployed_at}
                for d in reversed(self._history.deployments[:-1])
            ],
        }


def resolve(request: DeployRequest, history: History, settings: Settings) -> Release:
    """The release that a request means.

    Raises:
        ServiceError: unknown service type or model version, or too little is said about the release.
    """
    if request.service_type not in SERVICE_TYPES:
        raise ServiceError(
            400,
            "unknown_service_type",
            f"Unknown service_type {request.service_type!r}; known: {', '.join(SERVICE_TYPES)}.",
        )
    asked = request.release
    if asked is None:
        if known := history.labelled(request.model_version):
            return known
        raise ServiceError(
            404,
            "unknown_model_version",
            f"Unknown model_version {request.model_version!r}; "
            + (f"known: {', '.join(history.labels)}." if history.labels else "none was ever deployed.")
            + " A new one is deployed with its release.",
        )
    kept = history.release(asked.id)
    artifacts = asked.artifacts or (kept.artifacts if kept else settings.artifacts.prefix)
    if not artifacts:
        raise ServiceError(
            400, "incomplete_release", f"Release {asked.id} is not known yet: give release.artifacts, its prefix."
        )
    return Release(
        id=asked.id,
        artifacts=artifacts,
        index=asked.index or (kept.index if kept else settings.opensearch.items),
        pipeline=asked.pipeline or (kept.pipeline if kept else settings.opensearch.pipeline),
        model=asked.model or (kept.model if kept else settings.embeddings.model),
        version=asked.version,
    )
