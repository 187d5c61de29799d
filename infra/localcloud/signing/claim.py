"""What a request claims about who signed it, before anything is verified."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Protocol

from infra.localcloud.service import Identity


@dataclass(frozen=True)
class AccessKey:
    """An access key with its secret; temporary ones have a security token and an end."""

    id: str
    secret: str
    identity: Identity
    security_token: str = ""
    expires: dt.datetime | None = None

    def __repr__(self) -> str:
        return f"AccessKey(id={self.id!r}, identity={self.identity!r}, expires={self.expires!r})"


class KeyRing(Protocol):
    """Where access keys are looked up."""

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key, expired ones included, or None."""
        ...


@dataclass(frozen=True)
class Claim:
    """A signature found on a request, with what is needed to check it."""

    algorithm: str
    access_key_id: str
    signature: str
    string_to_sign: str
    sign: Callable[[str, str], str]  # (secret, string to sign) -> signature
    signed_at: dt.datetime | None = None
    expires: dt.datetime | None = None  # presigned URLs: the end of their validity
    nonce: str = ""
    security_token: str = ""


def parse_time(text: str) -> dt.datetime | None:
    """A time in any form that the protocols use: ISO 8601 (extended or basic) or an HTTP date; else None."""
    for pattern in ("%Y-%m-%dT%H:%M:%SZ", "%Y%m%dT%H%M%SZ"):
        try:
            return dt.datetime.strptime(text, pattern).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
    try:
        parsed = parsedate_to_datetime(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
