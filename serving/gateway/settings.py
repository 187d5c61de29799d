"""The gateway's settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from serving.settings import Seconds, Section, SecureListen, Url
from serving.tokens import Token


class Model(Section):
    """The model that is served, under its public name."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")] = "custom-emb-v1"
    backend: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}(/[A-Za-z0-9_.-]{1,64})?$")] = "custom_emb"
    # `backend` is TorchServe's model name, with ``/VERSION`` when not its default version is meant.


class TorchServe(Section):
    """Where TorchServe listens and keeps its tokens."""

    inference: Url = "http://127.0.0.1:8085"
    management: Url = "http://127.0.0.1:8086"
    key_file: Path | None = None  # written by TorchServe at its start; none when its authorisation is off
    timeout: Seconds = 60.0  # of one chunk, the wait in TorchServe's queue included
    chunk: Annotated[int, Field(ge=1, le=512)] = 64  # texts in one call
    concurrency: Annotated[int, Field(ge=1, le=256)] = 16  # calls at once; one batch of TorchServe
    waiting: Annotated[int, Field(ge=0, le=10_000)] = 256  # chunks that may wait, beyond that 503


class Limits(Section):
    """What a request may hold."""

    inputs: Annotated[int, Field(ge=1, le=65_536)] = 2048
    characters: Annotated[int, Field(ge=1)] = 32_768  # of one text; the model truncates far earlier
    body: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024  # bytes


class Settings(Section):
    """Everything in ``gateway.json``."""

    listen: SecureListen
    tokens: Annotated[tuple[Token, ...], Field(min_length=1)]
    model: Model = Model()
    torchserve: TorchServe = TorchServe()
    limits: Limits = Limits()
