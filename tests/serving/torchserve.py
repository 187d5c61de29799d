"""A stand-in for TorchServe over HTTP: its routes, its token file, its errors; the vectors come from a hash."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import secrets
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

DIMENSION = 8


def vector(text: str) -> list[float]:
    """What the model makes of a text."""
    return [byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:DIMENSION]]


class TorchServe:
    """Serves `custom_emb`; tests change the attributes while it runs."""

    def __init__(self, key_file: Path) -> None:
        self.key_file = key_file
        self.keys = {"inference": "", "API": secrets.token_hex(4)}
        self.reset()

    def reset(self) -> None:
        """As just started."""
        self.version = "v1"
        self.switch_after = 0  # calls after which the version becomes v2; 0 for never
        self.status = 200  # of predictions
        self.delay = 0.0  # seconds
        self.calls: list[int] = []  # texts in each prediction
        self.renewals = 0
        self.renew(valid=3600)

    def renew(self, *, valid: float, write: bool = True) -> None:
        """A new inference token, as at a start or by the token API."""
        self.keys["inference"] = secrets.token_hex(4)
        if write:
            end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=valid)
            content = {
                "inference": {"key": self.keys["inference"], "expiration time": f"{end:%Y-%m-%dT%H:%M:%S.%f}789Z"},
                "API": {"key": self.keys["API"]},
            }
            self.key_file.write_text(json.dumps(content))

    def expire(self) -> None:
        """The token of the file stops being accepted, and its time is over."""
        self.renew(valid=-1)
        self.keys["inference"] = secrets.token_hex(4)

    def app(self) -> Starlette:
        """Predictions and the token API on one port."""
        return Starlette(
            routes=[
                Route("/predictions/{model}", self._predict, methods=["POST"]),
                Route("/token", self._token),
            ]
        )

    def _refused(self, request: Request, kind: str) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {self.keys[kind]}":
            return None
        message = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
        return JSONResponse({"code": 400, "type": "InvalidKeyException", "message": message}, 400)

    async def _predict(self, request: Request) -> Response:
        if refusal := self._refused(request, "inference"):
            return refusal
        if request.path_params["model"] != "custom_emb":
            return JSONResponse({"code": 404, "type": "ModelNotFoundException", "message": "Model not found"}, 404)
        texts = json.loads(await request.body())["input"]
        self.calls.append(len(texts))
        if self.switch_after and len(self.calls) > self.switch_after:
            self.version = "v2"
        version = self.version
        await asyncio.sleep(self.delay)
        if self.status != 200:
            return JSONResponse(
                {"code": self.status, "type": "Error", "message": "as the test wants it"}, self.status
            )
        return Response(json.dumps({"embeddings": [vector(text) for text in texts], "version": version}))

    async def _token(self, request: Request) -> Response:
        if refusal := self._refused(request, "API"):
            return refusal
        self.renewals += 1
        self.renew(valid=3600)
        return Response()
