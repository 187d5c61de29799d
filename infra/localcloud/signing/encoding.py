"""Percent-encoding and digests that several signature forms share."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote


def percent(text: str, *, safe: str = "") -> str:
    """Percent-encodes all but ``A-Z a-z 0-9 - _ . ~`` (RFC 3986) and the characters of `safe`."""
    return quote(text, safe=safe + "~")


def hmac_sha1(key: str, message: str) -> str:
    """HMAC-SHA1 in base64."""
    return base64.b64encode(hmac.digest(key.encode(), message.encode(), hashlib.sha1)).decode()


def hmac_sha256(key: bytes, message: str) -> bytes:
    """HMAC-SHA256."""
    return hmac.digest(key, message.encode(), hashlib.sha256)
