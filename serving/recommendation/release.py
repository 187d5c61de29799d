"""A release: the artifacts, index, pipeline and model that belong together, and the check that they do."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import NotFoundError, OpenSearchException
from pydantic import Field

from model.ranking.collaborative import Collaborative
from model.ranking.features import popularity
from model.ranking.ranker import Ranker
from serving.clients.embeddings import Embeddings, EmbeddingsError
from serving.clients.opensearch import reason
from serving.clients.oss import OssError
from serving.recommendation.errors import ServiceError
from serving.settings import Section

RANKER = "ranker.json"
COLLABORATIVE = "collaborative.npz"
_COMBINING = {"normalization-processor", "score-ranker-processor"}

Prefix = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/)+$", max_length=512)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]


class Release(Section):
    """What is served together. Kept in the state folder, so fields are only ever added."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    artifacts: Prefix  # in the artifacts' bucket
    index: Name  # of the items: an alias when asked for, the physical index once deployed
    pipeline: Name
    model: Name  # at the embeddings endpoint
    version: str = ""  # of the embedding model; set once deployed
    dimension: int = 0  # of the vectors; set once deployed


@dataclass(frozen=True)
class Loaded:
    """A release with its artifacts in memory."""

    release: Release
    ranker: Ranker
    collaborative: Collaborative
    popularity: Mapping[str, float]  # the signal, by item id


class Source(Protocol):
    """Where artifacts come from."""

    def fetch(self, key: str, path: Path) -> None:
        """Writes the object `key` to `path`."""
        ...


def load(release: Release, source: Source, cache: Path) -> Loaded:
    """Reads a release's artifacts, fetching those that the cache lacks.

    Raises:
        ServiceError: an artifact is missing, cannot be read or belongs to another version of the model.
    """
    folder = cache / hashlib.sha256(release.artifacts.encode()).hexdigest()[:16]
    paths = {name: folder / name for name in (RANKER, COLLABORATIVE)}
    for name, path in paths.items():
        if path.is_file():
            continue
        try:
            source.fetch(release.artifacts + name, path)
        except OssError as error:
            status = 404 if error.missing else 503
            raise ServiceError(status, "artifact_unavailable", str(error)) from error
        except OSError as error:
            raise ServiceError(507, "cache_not_writable", f"{path}: {error}") from error
    try:
        ranker = Ranker.load(paths[RANKER])
        collaborative = Collaborative.load(paths[COLLABORATIVE])
    except (OSError, ValueError, KeyError) as error:
        for path in paths.values():
            path.unlink(missing_ok=True)  # so that the next try fetches again
        raise ServiceError(
            422, "artifact_unreadable", f"{release.artifacts}: cannot be read as artifacts: {error}"
        ) from error
    if release.version and ranker.version != release.version:
        raise ServiceError(
            409,
            "release_mismatch",
            f"{release.artifacts}{RANKER} belongs to model version {ranker.version}, "
            f"the endpoint serves {release.version}",
        )
    signal = popularity(collaborative.counts)
    return Loaded(release, ranker, collaborative, dict(zip(collaborative.items, map(float, signal), strict=True)))


async def verified(release: Release, client: AsyncOpenSearch, embeddings: Embeddings) -> Release:
    """Checks that index, pipeline and model agree.

    Returns:
        The release with the physical index, the model's version and the dimension filled in.

    Raises:
        ServiceError: they don't, one doesn't exist, or one can't be asked.
    """
    try:
        async with asyncio.TaskGroup() as group:
            mapping = group.create_task(_mapping(client, release.index))
            pipeline = group.create_task(_pipeline(client, release.pipeline))
            probe = group.create_task(_probe(embeddings, release.model))
    except* ServiceError as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    index, properties, meta = mapping.result()
    check_pipeline(release.pipeline, pipeline.result())
    dimension, version = probe.result()
    check_index(index, properties, meta, dimension=dimension, version=version, expected=release.version)
    return release.model_copy(update={"index": index, "version": version, "dimension": dimension})


def check_index(
    index: str,
    properties: Mapping[str, Any],
    meta: Mapping[str, Any],
    *,
    dimension: int,
    version: str,
    expected: str,
) -> None:
    """Checks an index's mapping against the model that embeds queries.

    Args:
        index: its name, for messages.
        properties: the mapping's ``properties``.
        meta: the mapping's ``_meta``; its ``model_version`` says which model made the vectors.
        dimension: of a vector from the endpoint.
        version: of the model at the endpoint.
        expected: the version that the release names, or empty.

    Raises:
        ServiceError: they don't agree.
    """

    def refuse(message: str) -> ServiceError:
        return ServiceError(409, "release_mismatch", message)

    field = properties.get("vector", {})
    if field.get("type") != "knn_vector":
        raise refuse(f"index {index!r} has no knn_vector field named 'vector'")
    if field.get("dimension") != dimension:
        raise refuse(
            f"index {index!r} holds vectors of {field.get('dimension')} dimensions, the model makes {dimension}"
        )
    made_by = str(meta.get("model_version", ""))
    for what, other in ((f"index {index!r} was made by", made_by), ("the release names", expected)):
        if other and other != version:
            raise refuse(f"{what} model version {other}, the endpoint serves {version}")


def check_pipeline(name: str, pipeline: Mapping[str, Any]) -> None:
    """Checks that a search pipeline combines scores; without that a hybrid query answers nonsense silently.

    Raises:
        ServiceError: it doesn't.
    """
    kinds = {kind for entry in pipeline.get("phase_results_processors", ()) for kind in entry}
    if not kinds & _COMBINING:
        raise ServiceError(409, "release_mismatch", f"search pipeline {name!r} has none of {sorted(_COMBINING)}")


async def _mapping(client: AsyncOpenSearch, index: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    try:
        answer = await client.indices.get_mapping(index=index)
    except NotFoundError:
        raise ServiceError(404, "unknown_index", f"there is no index or alias {index!r} in OpenSearch") from None
    except OpenSearchException as error:
        raise _down("opensearch", reason(error)) from error
    if len(answer) != 1:
        raise ServiceError(409, "release_mismatch", f"alias {index!r} stands for {len(answer)} indices, not one")
    ((name, entry),) = answer.items()
    mappings = entry["mappings"]
    return name, mappings.get("properties", {}), mappings.get("_meta", {})


async def _pipeline(client: AsyncOpenSearch, name: str) -> dict[str, Any]:
    try:
        answer = await client.transport.perform_request("GET", f"/_search/pipeline/{name}")
    except NotFoundError:
        raise ServiceError(404, "unknown_pipeline", f"there is no search pipeline {name!r} in OpenSearch") from None
    except OpenSearchException as error:
        raise _down("opensearch", reason(error)) from error
    return dict(answer[name])


async def _probe(embeddings: Embeddings, model: str) -> tuple[int, str]:
    try:
        answer = await embeddings.embed(["a text to see the model's dimension and version"], model=model, deadline=20)
    except EmbeddingsError as error:
        if error.status == 404:
            raise ServiceError(404, "unknown_model", f"the embeddings endpoint: {error}") from error
        raise _down("embeddings", str(error)) from error
    return answer.dimension, answer.version


def _down(name: str, message: str) -> ServiceError:
    return ServiceError(503, "dependency_unavailable", f"{name}: {message}", headers={"Retry-After": "5"})
