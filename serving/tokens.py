"""Bearer tokens: servers hold only their digests."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from serving.settings import Section


class Token(Section):
    """A token that is accepted, known by its digest."""

    name: Annotated[str, Field(min_length=1, max_length=64)]  # who holds it; appears in logs
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # hex digest of the token's UTF-8 bytes
    scopes: tuple[str, ...] = ()  # what it is good for, where a server distinguishes


def digest(token: str) -> str:
    """The hex digest under which a server knows a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(header: str | None) -> str:
    """The token of an ``Authorization`` header, empty if there is none."""
    scheme, _, value = (header or "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


class Tokens:
    """The accepted tokens; several are valid at once, so that one can be replaced without an interruption."""

    def __init__(self, accepted: Iterable[Token]) -> None:
        self._accepted = tuple(accepted)

    def find(self, presented: str) -> Token | None:
        """The accepted token that was presented.

        Every digest is compared in constant time, and all of them are, so that timing tells nothing.
        """
        seen = digest(presented)
        found = None
        for token in self._accepted:
            if hmac.compare_digest(token.sha256, seen):
                found = token
        return found
