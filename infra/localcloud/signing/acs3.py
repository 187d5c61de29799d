"""ACS3-HMAC-SHA256: what the current SDKs use for RPC and ROA calls alike."""

from __future__ import annotations

import hashlib
import re

from infra.localcloud.service import ApiError
from infra.localcloud.signing.claim import Claim, parse_time
from infra.localcloud.signing.encoding import hmac_sha256, percent
from infra.localcloud.wire import Request

ALGORITHM = "ACS3-HMAC-SHA256"
BODY_LIMIT = 32 << 20
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM}\s+Credential=([^,\s]+)\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([0-9a-fA-F]+)"
)
_REQUIRED_SIGNED = ("host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-version")


def claim(request: Request) -> Claim | None:
    """The claim, or None when the request isn't signed this way.

    Raises:
        ApiError: the header is malformed, leaves a required header out, or the body has another digest than stated.
    """
    authorization = request.headers.get("authorization", "")
    if not authorization.startswith("ACS3-"):
        return None
    match = _AUTHORIZATION.fullmatch(authorization.strip())
    if match is None:
        raise ApiError(
            400,
            "IncompleteSignature",
            f"The Authorization header must be: {ALGORITHM} Credential=...,SignedHeaders=...,Signature=...",
        )
    access_key_id, signed, signature = match.groups()
    names = signed.lower().split(";")
    for name in _REQUIRED_SIGNED:
        if name in request.headers and name not in names:
            raise ApiError(400, "IncompleteSignature", f"The header {name} must be signed.")
    for name in ("x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256", "x-acs-version"):
        if not request.headers.get(name):
            raise ApiError(400, "MissingHeader", f"The header {name} is mandatory.")
    payload_digest = hashlib.sha256(request.body.read(BODY_LIMIT)).hexdigest()
    if payload_digest != request.headers["x-acs-content-sha256"].lower():
        raise ApiError(400, "SignatureDoesNotMatch", "x-acs-content-sha256 is not the SHA-256 of the request body.")
    return Claim(
        algorithm=ALGORITHM,
        access_key_id=access_key_id,
        signature=signature.lower(),
        string_to_sign=string_to_sign(request, names, payload_digest),
        sign=sign,
        signed_at=parse_time(request.headers["x-acs-date"]),
        nonce=request.headers["x-acs-signature-nonce"],
        security_token=request.headers.get("x-acs-security-token", ""),
    )


def string_to_sign(request: Request, signed_headers: list[str], payload_digest: str) -> str:
    """The algorithm and the digest of the canonical request."""
    query = "&".join(f"{percent(name)}={percent(value)}" for name, value in sorted(request.query))
    headers = "".join(f"{name}:{_header(request, name)}\n" for name in sorted(signed_headers))
    canonical = "\n".join(
        (request.method, request.raw_path or "/", query, headers, ";".join(sorted(signed_headers)), payload_digest)
    )
    return f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"


def sign(secret: str, text: str) -> str:
    """The signature of `text`."""
    return hmac_sha256(secret.encode(), text).hex()


def _header(request: Request, name: str) -> str:
    value = request.authority if name == "host" else request.headers.get(name, "")
    return value.strip()
