"""Connections to OpenSearch: TLS with a private CA, basic authentication, never through a proxy."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import OpenSearchException, TransportError
from pydantic import model_validator

from serving.settings import Seconds, Section, SettingsError, Url


class OpenSearchAccess(Section):
    """Where OpenSearch is and who asks."""

    url: Url
    username: str = ""
    password: str = ""
    password_file: Path | None = None  # instead of `password`
    ca_file: Path | None = None  # PEM; without it the system's roots
    timeout: Seconds = 5.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.password and self.password_file:
            raise ValueError("give password or password_file, not both")
        if self.username and not (self.password or self.password_file):
            raise ValueError("username without password or password_file")
        return self

    def secret(self) -> str:
        """The password.

        Raises:
            SettingsError: its file cannot be read.
        """
        if self.password_file is None:
            return self.password
        try:
            return self.password_file.read_text("utf-8").strip()
        except OSError as error:
            raise SettingsError(f"opensearch.password_file: {error}") from None


def connect(access: OpenSearchAccess, *, connections: int = 32) -> AsyncOpenSearch:
    """A client with a pool of kept connections.

    It does not retry: a recommendation's time is short, and what is down is left out.

    Raises:
        SettingsError: password or CA file cannot be read.
    """
    context = None
    if access.url.startswith("https:"):
        try:
            context = ssl.create_default_context(cafile=access.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"opensearch.ca_file: {access.ca_file}: {error}") from None
    return AsyncOpenSearch(
        hosts=[access.url],
        http_auth=(access.username, access.secret()) if access.username else None,
        ssl_context=context,
        timeout=access.timeout,
        max_retries=0,
        maxsize=connections,
        http_compress=False,  # in a VPC, compressing vectors takes longer than sending them
        trust_env=False,
    )


def reason(error: OpenSearchException) -> str:
    """An error in one line, without the server's stack of causes."""
    if not isinstance(error, TransportError):
        return str(error)
    info: Any = error.info
    if isinstance(info, Mapping) and isinstance(info.get("error"), Mapping):
        cause = (info["error"].get("root_cause") or [info["error"]])[0]
        return f"{error.status_code} {cause.get('type')}: {cause.get('reason')}"
    return f"{error.status_code} {error.error}"
