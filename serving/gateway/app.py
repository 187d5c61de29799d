"""The gateway's HTTP API."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from serving.gateway.settings import Settings
from serving.gateway.torchserve import BackendError, TorchServe
from serving.middleware import BodyLimit, Guard, RequestLog, RequestMetrics
from serving.tokens import Tokens, bearer

OPEN = {"/healthz", "/readyz"}  # without a token
READY_FOR = 5.0  # seconds that a successful probe counts


class EmbeddingsRequest(BaseModel):
    """The body of ``POST /v1/embeddings``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    input: str | list[str] = Field(description="One text or a list of texts; token arrays are not supported.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, description="Must be the model's own, if given.")
    input_type: Literal["query", "document"] = Field(
        default="document", description="What the texts are, for models that embed queries in another way."
    )
    user: str | None = Field(default=None, max_length=256, description="Accepted and ignored.")


class GatewayError(Exception):
    """An error in OpenAI's form."""

    def __init__(self, status: int, kind: str, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(kind, code, message, param)


def error_body(kind: str, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """``{"error": {...}}`` as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def application(settings: Settings) -> ASGIApp:
    """Builds the gateway."""
    registry = CollectorRegistry()
    requests = RequestMetrics(registry)
    texts = Counter("ragrec_gateway_texts_total", "Texts turned into vectors.", registry=registry)
    failures = Counter(
        "ragrec_gateway_backend_failures_total", "Failed calls of the model server.", ["status"], registry=registry
    )
    outstanding = Gauge(
        "ragrec_gateway_outstanding_chunks", "Chunks in work or waiting for the model server.", registry=registry
    )
    tokens = Tokens(settings.tokens)
    backend = TorchServe(settings.model.backend, settings.torchserve)
    outstanding.set_function(lambda: backend.outstanding)
    started = int(time.time())
    probed = float("-inf")  # when a probe last succeeded

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await backend.close()

    def admit(request: Request) -> Response | None:
        if request.url.path in OPEN:
            return None
        token = tokens.find(bearer(request.headers.get("authorization")))
        if token is None:
            body = error_body("authentication_error", "invalid_api_key", "A valid bearer token is required.")
            return JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})
        request.state.caller = token.name
        return None

    api = FastAPI(title="ragrec inference gateway", docs_url=None, redoc_url=None, lifespan=lifespan)

    @api.post("/v1/embeddings")
    async def embeddings(request: EmbeddingsRequest) -> Response:
        inputs = [request.input] if isinstance(request.input, str) else request.input
        check(request.model, inputs, settings)
        try:
            answer = await backend.embed(inputs, request.input_type)
        except BackendError as error:
            failures.labels(str(error.status)).inc()
            raise
        texts.inc(len(inputs))
        native = len(answer.vectors[0])
        if request.dimensions not in {None, native}:
            raise GatewayError(
                400,
                "invalid_request_error",
                "unsupported_value",
                f"This model has {native} dimensions and no others.",
                param="dimensions",
            )
        encode = _base64 if request.encoding_format == "base64" else _floats
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(answer.vectors)
        ]
        return JSONResponse({"object": "list", "model": settings.model.name, "version": answer.version, "data": data})

    @api.get("/v1/models")
    async def models() -> Response:
        entry = {"id": settings.model.name, "object": "model", "created": started, "owned_by": "ragrec"}
        return JSONResponse({"object": "list", "data": [entry]})

    @api.get("/v1/models/{name}")
    async def model(name: str) -> Response:
        check(name, ["-"], settings)
        return JSONResponse({"id": settings.model.name, "object": "model", "created": started, "owned_by": "ragrec"})

    @api.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    @api.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @api.get("/readyz")
    async def readyz() -> Response:
        nonlocal probed
        if time.monotonic() - probed > READY_FOR:
            await backend.embed(["ready?"])
            probed = time.monotonic()
        return JSONResponse({"status": "ready", "model": settings.model.name})

    _handle_errors(api)
    limited = BodyLimit(
        api,
        settings.limits.body,
        error_body("invalid_request_error", "request_too_large", f"The body is over {settings.limits.body:,} bytes."),
        requests,
    )
    return RequestLog(Guard(limited, admit), requests)


def check(model: str, inputs: list[str], settings: Settings) -> None:
    """Checks what the schema can't.

    Raises:
        GatewayError: another model, too many texts, an empty or a too long one.
    """
    if model != settings.model.name:
        raise GatewayError(
            404,
            "invalid_request_error",
            "model_not_found",
            f"The model {model!r} does not exist; this gateway serves {settings.model.name!r}.",
            param="model",
        )
    limits = settings.limits

    def refuse(code: str, message: str) -> GatewayError:
        return GatewayError(400, "invalid_request_error", code, message, param="input")

    if not inputs:
        raise refuse("empty_input", "input is an empty list.")
    if len(inputs) > limits.inputs:
        raise refuse("too_many_inputs", f"input has {len(inputs)} texts; at most {limits.inputs} are allowed.")
    for index, text in enumerate(inputs):
        if not text.strip():
            raise refuse("empty_input", f"input[{index}] is empty.")
        if len(text) > limits.characters:
            raise refuse(
                "string_above_max_length",
                f"input[{index}] has {len(text)} characters; at most {limits.characters} are allowed.",
            )


def _handle_errors(api: FastAPI) -> None:
    @api.exception_handler(GatewayError)
    async def ours(_: Request, error: GatewayError) -> Response:
        return JSONResponse(error.body, error.status)

    @api.exception_handler(BackendError)
    async def backend(_: Request, error: BackendError) -> Response:
        kind = {502: "bad_backend", 503: "unavailable", 504: "timeout"}[error.status]
        headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
        return JSONResponse(error_body("server_error", kind, str(error)), error.status, headers)

    @api.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            message = f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}."
            return JSONResponse(error_body("invalid_request_error", "invalid_json", message), 400)
        # Behind the field come the members of a union that was tried.
        param = str(first["loc"][1]) if len(first["loc"]) > 1 else ""
        message = f"{param}: {first['msg']}." if param else f"{first['msg']}."
        return JSONResponse(error_body("invalid_request_error", "invalid_value", message, param or None), 400)

    @api.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return JSONResponse(
            error_body("invalid_request_error", "not_found" if error.status_code == 404 else "http", error.detail),
            error.status_code,
            error.headers,
        )


def _floats(vector: list[float]) -> list[float]:
    return vector


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
