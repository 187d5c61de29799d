"""Builds the service's parts from its settings."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import OpenSearchException
from prometheus_client import CollectorRegistry

from serving.clients.airec import AirecClient, UnmappableIdError
from serving.clients.embeddings import Embeddings, EmbeddingsError
from serving.clients.openapi import ApiError, Target
from serving.clients.opensearch import connect
from serving.clients.oss import Bucket
from serving.recommendation.catalogue import Catalogue
from serving.recommendation.dependency import Dependency, DependencyMetrics
from serving.recommendation.instance import Instance
from serving.recommendation.recommender import RecallMetrics, Recommender
from serving.recommendation.release import Source
from serving.recommendation.settings import Airec, Settings

_AIREC_THREADS = 8  # the SDK blocks


class AirecRecall:
    """AIRec's `Recommend` without blocking the event loop."""

    def __init__(self, settings: Airec, region: str, dependency: Dependency) -> None:
        self._settings = settings
        self._dependency = dependency
        self._threads = ThreadPoolExecutor(_AIREC_THREADS, thread_name_prefix="airec")
        target = Target(
            region=settings.region or region,
            protocol=settings.protocol,
            ca_file=str(settings.ca_file) if settings.ca_file else None,
        )
        self._client = AirecClient(target, attempts=1, timeout_ms=int(settings.timeout * 1000))

    async def recommend(self, user_id: str, count: int) -> list[tuple[str, float]]:
        """Items with AIRec's weights; none for a user whose id AIRec cannot hold."""

        def ask() -> list[tuple[str, float]]:
            try:
                found = self._client.recommend(
                    self._settings.instance_id, user_id, count=count, scene_id=self._settings.scene_id
                )
            except UnmappableIdError:
                return []
            return [(entry.item_id, entry.weight) for entry in found]

        loop = asyncio.get_running_loop()
        return await self._dependency.call(lambda: loop.run_in_executor(self._threads, ask))

    def close(self) -> None:
        """Lets calls under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Parts:
    """What the HTTP API is made on."""

    client: AsyncOpenSearch
    embeddings: Embeddings
    catalogue: Catalogue
    instance: Instance
    recommender: Recommender
    airec: AirecRecall | None
    reached: tuple[Dependency, ...]

    def dependencies(self) -> dict[str, str]:
        """Each dependency as ``up`` or ``down``, by its last answers."""
        return {dependency.name: "up" if dependency.up else "down" for dependency in self.reached}

    async def close(self) -> None:
        """Closes every connection."""
        await self.client.close()
        await self.embeddings.close()
        if self.airec:
            self.airec.close()


def assemble(settings: Settings, registry: CollectorRegistry, source: Source | None = None) -> Parts:
    """Builds the parts; to be called while the event loop runs.

    Raises:
        SettingsError: a file that the settings name cannot be used.
    """
    metrics = DependencyMetrics(registry)
    client = connect(settings.opensearch)
    embeddings = Embeddings(settings.embeddings)
    opensearch = Dependency("opensearch", settings.opensearch.timeout, (OpenSearchException,), metrics)
    endpoint = Dependency("embeddings", settings.embeddings.timeout, (EmbeddingsError,), metrics)
    reached = [opensearch, endpoint]
    airec = None
    if settings.airec:
        # The limit covers waiting for a thread, so that a slow AIRec cannot hold requests.
        dependency = Dependency("airec", settings.airec.timeout, (ApiError,), metrics)
        airec = AirecRecall(settings.airec, settings.region, dependency)
        reached.append(dependency)
    catalogue = Catalogue(client, opensearch, settings.opensearch.users)
    if source is None:
        source = Bucket(settings.artifacts.bucket, settings.region, settings.artifacts.endpoint)
    return Parts(
        client=client,
        embeddings=embeddings,
        catalogue=catalogue,
        instance=Instance(settings, client, embeddings, source),
        recommender=Recommender(catalogue, embeddings, endpoint, airec, settings.limits, RecallMetrics(registry)),
        airec=airec,
        reached=tuple(reached),
    )
