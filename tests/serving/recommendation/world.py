"""A small world for the service's tests: items, users, artifacts, and stand-ins for everything outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.clients.oss import OssError
from serving.recommendation.app import application
from serving.recommendation.settings import Settings
from serving.tokens import digest
from tests.serving.recommendation.artifacts import write_artifacts
from tests.serving.recommendation.search import Search
from tests.serving.server import running

INSTANCE = "ragrec-test"
RELEASE = "0123456789ab"
PREFIX = "artifacts/one/"
AXES = ("sail", "rope", "anchor", "engine")  # a text's vector counts these words
TITLES = {
    "d1": "Mending a sail",
    "d2": "Storm sail",
    "d3": "Splicing a rope",
    "d4": "Rope care",
    "d5": "Anchor chain",
    "d6": "Anchor ground",
    "d7": "Engine oil",
    "d8": "Engine start",
}


def vector(text: str) -> list[float]:
    """A vector by words, so that tests can tell what is near."""
    words = text.lower().split()
    return [words.count(axis) + 0.05 for axis in AXES]


class Endpoint:
    """A stand-in for the inference gateway."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As at the start."""
        self.status = 200
        self.version = "m1"
        self.calls = 0

    def app(self) -> Starlette:
        """Its one route."""
        return Starlette(routes=[Route("/v1/embeddings", self._embed, methods=["POST"])])

    async def _embed(self, request: Request) -> Response:
        self.calls += 1
        if request.headers.get("authorization") != "Bearer gateway-token":
            return JSONResponse({"error": {"message": "no token"}}, 401)
        if self.status != 200:
            return JSONResponse({"error": {"message": "as the test wants it"}}, self.status)
        body = await request.json()
        data = [{"index": n, "embedding": vector(text)} for n, text in enumerate(body["input"])]
        return JSONResponse({"version": self.version, "data": data})


@dataclass
class World:
    """Everything around a service, and its settings."""

    search: Search
    endpoint: Endpoint
    objects: Path  # stands for the bucket
    settings: Settings

    def fresh(self, folder: Path) -> World:
        """The same stand-ins as at the start, with an empty state folder and the one release in the bucket."""
        self.search.reset()
        self.endpoint.reset()
        write_artifacts(folder / "objects" / PREFIX, sorted(TITLES))
        settings = self.settings.model_copy(update={"state": folder / "state"})
        return World(self.search, self.endpoint, folder / "objects", settings)

    @contextmanager
    def service(self, **changes: Any) -> Iterator[httpx.Client]:
        """A client of a service; the token may do everything."""
        settings = self.settings.model_copy(update=changes)
        with (
            running(application(settings, source=Folder(self.objects))) as url,
            httpx.Client(base_url=url, headers=authorised("all"), trust_env=False, timeout=20) as client,
        ):
            yield client

    def deploy(self, client: httpx.Client, **release: Any) -> httpx.Response:
        """Deploys the release, or one with other parts."""
        body = {
            "service_type": "recommendation",
            "model_version": "custom_v1",
            "release": {"id": RELEASE, "artifacts": PREFIX, **release},
        }
        return client.post(f"/v1/instances/{INSTANCE}/deploy", json=body)


class Folder:
    """A folder as a source of artifacts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fetch(self, key: str, path: Path) -> None:
        """Copies a file."""
        source = self._folder / key
        if not source.is_file():
            raise OssError(f"oss://bucket/{key}: NoSuchKey: it is not there", missing=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())


def authorised(name: str) -> dict[str, str]:
    """The header with the token of that name."""
    return {"Authorization": f"Bearer {name}-token"}


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Starts the stand-ins."""
    items = {
        item_id: {
            "title": title,
            "text": f"About: {title}",
            "url": f"https://example.org/{item_id}",
            "tags": [],
            "vector": vector(title),
        }
        for item_id, title in TITLES.items()
    }
    search, endpoint = Search(items, len(AXES)), Endpoint()
    with ExitStack() as stack:
        urls = [stack.enter_context(running(app)) for app in (search.app(), endpoint.app())]
        yield World(search, endpoint, folder / "objects", settings(folder, *urls))


def settings(folder: Path, opensearch: str, embeddings: str) -> Settings:
    """Settings of a service in this world."""
    content: dict[str, Any] = {
        "instance": INSTANCE,
        "region": "cn-hangzhou",
        "listen": {"address": "127.0.0.1", "port": 0},
        "state": str(folder / "state"),
        "authentication": {
            "reads": "none",
            "tokens": [
                {"name": name, "sha256": digest(f"{name}-token"), "scopes": scopes}
                for name, scopes in {
                    "all": ["read", "events", "deploy", "metrics"],
                    "reader": ["read"],
                    "deployer": ["deploy"],
                }.items()
            ],
        },
        "opensearch": {"url": opensearch, "timeout": 1.0},
        "embeddings": {"url": embeddings, "token": "gateway-token", "timeout": 1.0},
        "artifacts": {"bucket": "bucket"},
        "limits": {"k": 3, "query": 100},
    }
    return Settings.model_validate_json(json.dumps(content))
