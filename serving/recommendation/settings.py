"""The service's settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from serving.clients.embeddings import EmbeddingsAccess
from serving.clients.opensearch import OpenSearchAccess
from serving.settings import Listen, Seconds, Section, Url
from serving.tokens import Token

SCOPES = ("read", "events", "deploy", "metrics")

Name = Annotated[str, Field(min_length=1, max_length=255)]


class Authentication(Section):
    """Who may ask. Deploying and writing events always need a token with that scope."""

    reads: Literal["none", "token"] = "token"
    tokens: tuple[Token, ...] = ()

    @model_validator(mode="after")
    def _scoped(self) -> Self:
        for token in self.tokens:
            if not token.scopes:
                raise ValueError(f"token {token.name!r} has no scopes; known are {', '.join(SCOPES)}")
            for scope in token.scopes:
                if scope not in SCOPES:
                    raise ValueError(f"token {token.name!r}: unknown scope {scope!r}; known are {', '.join(SCOPES)}")
        return self


class Search(OpenSearchAccess):
    """OpenSearch and the names in it."""

    items: Name = "items"
    users: Name = "users"
    pipeline: Name = "ragrec-hybrid"
    timeout: Seconds = 2.0


class Endpoint(EmbeddingsAccess):
    """The inference gateway."""

    timeout: Seconds = 2.0


class Artifacts(Section):
    """The bucket that holds releases' artifacts, and where they are kept."""

    bucket: Name
    endpoint: Url | None = None
    prefix: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/)*$")] = ""  # for releases that name none


class Airec(Section):
    """AIRec as one more recall."""

    instance_id: Name
    scene_id: Name
    region: Name | None = None  # the service's own, if absent
    protocol: Literal["HTTP", "HTTPS"] = "HTTPS"
    ca_file: Path | None = None
    timeout: Seconds = 2.0


class Limits(Section):
    """What a request may ask for, and how far recall looks."""

    k: Annotated[int, Field(ge=1, le=1000)] = 10
    k_max: Annotated[int, Field(ge=1, le=1000)] = 100
    query: Annotated[int, Field(ge=1, le=100_000)] = 2000  # characters
    candidates: Annotated[int, Field(ge=10, le=1000)] = 100  # of each recall
    history: Annotated[int, Field(ge=1, le=200)] = 50  # newest items of a user that shape recall
    half_life_days: Annotated[float, Field(gt=0)] = 30.0  # after which an interaction counts half

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.k > self.k_max:
            raise ValueError("k is over k_max")
        return self


class Settings(Section):
    """Everything in ``service.json``."""

    instance: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    region: Name
    listen: Listen
    state: Path  # a folder: what is deployed, and the artifacts' cache
    authentication: Authentication = Authentication()
    opensearch: Search
    embeddings: Endpoint
    artifacts: Artifacts
    airec: Airec | None = None
    limits: Limits = Limits()
