"""The service's HTTP API."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from model.data.records import FieldError, parse_interaction
from serving.middleware import BodyLimit, Guard, RequestLog, RequestMetrics
from serving.recommendation.assembly import Parts, assemble
from serving.recommendation.dependency import DependencyError
from serving.recommendation.errors import ServiceError
from serving.recommendation.history import Event
from serving.recommendation.instance import DeployRequest
from serving.recommendation.recommender import Ask, Unavailable
from serving.recommendation.release import Source
from serving.recommendation.settings import Settings
from serving.tokens import Tokens, bearer

BODY = 64 * 1024  # bytes; the largest body is an event with two long ids
OPEN = {"/healthz", "/readyz"}  # for probes, always without a token
PAGES = {"/", "/docs", "/openapi.json"}  # hold nothing but this code: they are open, their calls are not
MAX_ID = 512  # bytes, as in the data contract


class RecommendQuery(BaseModel):
    """Parameters of ``recommend``; without any of the first three the most popular items are meant."""

    model_config = ConfigDict(extra="forbid")

    user_id: Annotated[str, Field(description="Whom the items are for; unknown users are welcome.")] = ""
    query: Annotated[str, Field(description="What the user looks for.")] = ""
    item_id: Annotated[str, Field(description="The item that the user looks at.")] = ""
    k: Annotated[int | None, Field(description="How many items.")] = None
    explain: Annotated[bool, Field(description="Say for each item why.")] = False


class SearchQuery(BaseModel):
    """Parameters of ``search``."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(description="What to look for.")]
    k: Annotated[int | None, Field(description="How many items.")] = None


class EventBody(BaseModel):
    """Something a user did with an item."""

    model_config = ConfigDict(extra="forbid")

    user_id: str
    item_id: str
    event: Annotated[str, Field(description="click, view, rate or whatever the data set knows.")]
    timestamp: Annotated[
        str | float | None, Field(description="ISO 8601 with a zone, or seconds since 1970; now, if absent.")
    ] = None


def application(settings: Settings, source: Source | None = None) -> ASGIApp:
    """Builds the service.

    Args:
        settings: its settings.
        source: where artifacts come from; by default the bucket that the settings name.

    Raises:
        SettingsError: a file that the settings name cannot be used.
    """
    registry = CollectorRegistry()
    requests = RequestMetrics(registry)
    tokens = Tokens(settings.authentication.tokens)
    # The clients belong to the event loop, so they are made when it runs; mistakes in the settings show before.
    settings.opensearch.secret()
    settings.embeddings.secret()
    held: list[Parts] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts = assemble(settings, registry, source)
        held.append(parts)
        restoring = asyncio.create_task(parts.instance.restore())
        yield
        restoring.cancel()
        held.clear()
        await parts.close()

    def admit(request: Request) -> Response | None:
        path, method = request.url.path, request.method
        scopes = sufficient_scopes(method, path, settings.authentication.reads)
        if scopes is None:
            return None
        token = tokens.find(bearer(request.headers.get("authorization")))
        if token is None:
            error = ServiceError(
                401, "unauthorized", "A valid bearer token is required.", headers={"WWW-Authenticate": "Bearer"}
            )
            return _error(error)
        request.state.caller = token.name
        if not scopes & set(token.scopes):
            needed = " or ".join(sorted(scopes))
            return _error(ServiceError(403, "forbidden", f"The token {token.name!r} lacks the scope {needed}."))
        return None

    def instance_checked(instance_id: str) -> Parts:
        if instance_id != settings.instance:
            raise ServiceError(
                404, "unknown_instance", f"Unknown instance {instance_id!r}; this service is {settings.instance!r}."
            )
        return held[0]

    api = FastAPI(
        title="ragrec recommendation service",
        version="1",
        description="Hybrid retrieval and personalised recommendations over one deployed release.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    @api.post("/v1/instances/{instance_id}/deploy", tags=["deployment"], summary="Deploy a release")
    async def deploy(instance_id: str, body: DeployRequest) -> Response:
        return JSONResponse(jsonable_encoder(await instance_checked(instance_id).instance.deploy(body)))

    @api.get("/v1/instances/{instance_id}", tags=["deployment"], summary="What is deployed")
    async def describe(instance_id: str) -> Response:
        parts = instance_checked(instance_id)
        return JSONResponse(jsonable_encoder({**parts.instance.describe(), "dependencies": parts.dependencies()}))

    @api.get("/v1/instances/{instance_id}/recommend", tags=["recommendation"], summary="Recommend items")
    async def recommend(instance_id: str, asked: Annotated[RecommendQuery, Query()]) -> Response:
        started = time.perf_counter()
        parts = instance_checked(instance_id)
        ask = Ask(
            k=number(asked.k, settings),
            user_id=identifier("user_id", asked.user_id),
            query=text(asked.query, settings),
            item_id=identifier("item_id", asked.item_id),
        )
        loaded = parts.instance.loaded()
        answer = await parts.recommender.recommend(loaded, ask)
        return JSONResponse(
            {
                "instance": instance_id,
                "release": loaded.release.id,
                "model_version": parts.instance.describe()["model_version"],
                "user_id": ask.user_id or None,
                "query": ask.query or None,
                "item_id": ask.item_id or None,
                "items": [item.to_json(explain=asked.explain) for item in answer.items],
                "degraded": list(answer.degraded),
                "took_ms": _since(started),
            }
        )

    @api.get("/v1/instances/{instance_id}/search", tags=["recommendation"], summary="Hybrid search")
    async def search(instance_id: str, asked: Annotated[SearchQuery, Query()]) -> Response:
        started = time.perf_counter()
        parts = instance_checked(instance_id)
        k, query = number(asked.k, settings), text(asked.query, settings)
        if not query:
            raise ServiceError(400, "invalid_parameter", "query is empty.")
        loaded = parts.instance.loaded()
        hits, degraded = await parts.recommender.search(loaded, query, k)
        return JSONResponse(
            {
                "instance": instance_id,
                "release": loaded.release.id,
                "model_version": parts.instance.describe()["model_version"],
                "query": query,
                "items": [{**hit.card.to_json(), "score": round(hit.score, 6)} for hit in hits],
                "degraded": degraded,
                "took_ms": _since(started),
            }
        )

    @api.post("/v1/instances/{instance_id}/events", tags=["events"], summary="Record an event", status_code=201)
    async def events(instance_id: str, body: EventBody) -> Response:
        parts = instance_checked(instance_id)
        record = body.model_dump()
        if body.timestamp is None:
            record["timestamp"] = time.time()
        try:
            interaction, _ = parse_interaction(record)
        except FieldError as error:
            raise ServiceError(400, "invalid_event", f"{error}.") from None
        if interaction.timestamp.timestamp() > time.time() + 300:
            raise ServiceError(400, "invalid_event", "field 'timestamp': is in the future.")
        event = Event(interaction.timestamp, interaction.item_id, interaction.event)
        new = await parts.catalogue.record(interaction.user_id, event)
        recorded = {"user_id": interaction.user_id, **event.to_json(), "recorded": new}
        return JSONResponse(recorded, 201 if new else 200)

    @api.get("/healthz", tags=["operation"], summary="The process runs")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @api.get("/readyz", tags=["operation"], summary="A release is served")
    async def readyz() -> Response:
        release = held[0].instance.loaded().release
        return JSONResponse({"status": "ready", "release": release.id, "dependencies": held[0].dependencies()})

    @api.get("/metrics", tags=["operation"], summary="Prometheus metrics")
    async def metrics() -> Response:
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    @api.get("/", include_in_schema=False)
    async def console() -> Response:
        return _page("console.html", settings)

    @api.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return _page("docs.html", settings)

    _handle_errors(api)
    too_large = ServiceError(413, "body_too_large", f"The body is over {BODY:,} bytes.")
    return RequestLog(Guard(BodyLimit(api, BODY, too_large.body(), requests), admit), requests)


def sufficient_scopes(method: str, path: str, reads: str) -> set[str] | None:
    """The scopes of which a token needs one for a request, or None when no token is needed."""
    if path in OPEN or path in PAGES:
        return None
    if method in {"GET", "HEAD"}:
        if reads == "none":
            return None
        if path == "/metrics":
            return {"metrics"}
        # Who deploys may see what is deployed.
        return {"read", "deploy"} if re.fullmatch(r"/v1/instances/[^/]+", path) else {"read"}
    return {"events"} if path.endswith("/events") else {"deploy"}


def number(k: int | None, settings: Settings) -> int:
    """The number of items to return.

    Raises:
        ServiceError: out of range.
    """
    if k is None:
        return settings.limits.k
    if not 1 <= k <= settings.limits.k_max:
        raise ServiceError(
            400, "invalid_parameter", f"k must be a whole number from 1 to {settings.limits.k_max}, not {k}."
        )
    return k


def text(query: str, settings: Settings) -> str:
    """A query without the spaces around it.

    Raises:
        ServiceError: too long.
    """
    if len(query) > settings.limits.query:
        raise ServiceError(
            400,
            "query_too_long",
            f"query has {len(query)} characters; at most {settings.limits.query} are allowed.",
        )
    return query.strip()


def identifier(name: str, value: str) -> str:
    """An id of the data contract, or empty.

    Raises:
        ServiceError: too long, or with control characters.
    """
    if len(value.encode()) > MAX_ID or any(ord(character) < 32 for character in value):
        raise ServiceError(
            400, "invalid_parameter", f"{name} is longer than {MAX_ID} bytes or has control characters in it."
        )
    return value


def explained(errors: Sequence[Any]) -> tuple[str, str]:
    """Code and message for a request that doesn't fit the schema; the first mistake counts."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return "invalid_body", f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}."
    place, *names = first["loc"]
    name = ".".join(str(part) for part in names) or "the body"
    if first["type"] == "extra_forbidden":
        kind = "parameter" if place == "query" else "field"
        return f"unknown_{kind}", f"Unknown {kind} {name!r}."
    if first["type"] == "missing":
        return f"missing_{'parameter' if place == 'query' else 'field'}", f"{name} is missing."
    if name == "k":
        return "invalid_parameter", f"k must be a whole number, not {first['input']!r}."
    return f"invalid_{'parameter' if place == 'query' else 'field'}", f"{name}: {first['msg']}."


def _handle_errors(api: FastAPI) -> None:
    @api.exception_handler(ServiceError)
    async def ours(_: Request, error: ServiceError) -> Response:
        return _error(error)

    @api.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Unavailable) -> Response:
        body = ServiceError(503, "unavailable", f"{error}.").body()
        return JSONResponse({**body, "degraded": error.degraded}, 503, {"Retry-After": "5"})

    @api.exception_handler(DependencyError)
    async def dependency(_: Request, error: DependencyError) -> Response:
        return _error(ServiceError(503, "dependency_unavailable", f"{error}.", headers={"Retry-After": "5"}))

    @api.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> Response:
        code, message = explained(error.errors())
        return _error(ServiceError(400, code, message))

    @api.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        message = f"{request.method} {request.url.path}: {error.detail}."
        return _error(ServiceError(error.status_code, code, message, headers=dict(error.headers or {})))


def _error(error: ServiceError) -> Response:
    return JSONResponse(error.body(), error.status, error.headers)


def _page(name: str, settings: Settings) -> Response:
    page = files("serving.recommendation").joinpath(name).read_text("utf-8")
    # An instance id has nothing that HTML would read otherwise.
    page = page.replace("{{instance}}", settings.instance).replace("{{reads}}", settings.authentication.reads)
    headers = {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(page, headers=headers)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
