"""The first signature of the ROA style (``Authorization: acs ...``), as the provider's tea-roa sends it."""

from __future__ import annotations

import base64
import hashlib

from infra.localcloud.service import ApiError
from infra.localcloud.signing.acs3 import BODY_LIMIT
from infra.localcloud.signing.claim import Claim, parse_time
from infra.localcloud.signing.encoding import hmac_sha1
from infra.localcloud.wire import Request


def claim(request: Request) -> Claim | None:
    """The claim, or None when the request isn't signed this way.

    Raises:
        ApiError: the header is malformed, a header is missing, or Content-MD5 isn't the body's.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme != "acs":
        return None
    access_key_id, _, signature = value.strip().partition(":")
    if not access_key_id or not signature:
        raise ApiError(400, "IncompleteSignature", "The Authorization header must be: acs AccessKeyId:Signature")
    if "date" not in request.headers:
        raise ApiError(400, "MissingDate", "The header Date is mandatory.")
    if digest := request.headers.get("content-md5"):
        actual = base64.b64encode(hashlib.md5(request.body.read(BODY_LIMIT), usedforsecurity=False).digest()).decode()
        if digest != actual:
            raise ApiError(400, "ContentMD5NotMatched", f"Content-MD5 of the body is {actual}, not {digest}.")
    return Claim(
        algorithm="roa-v1",
        access_key_id=access_key_id,
        signature=signature,
        string_to_sign=string_to_sign(request),
        sign=hmac_sha1,
        signed_at=parse_time(request.headers["date"]),
        nonce=request.headers.get("x-acs-signature-nonce", ""),
        security_token=request.headers.get("x-acs-security-token", ""),
    )


def string_to_sign(request: Request) -> str:
    """Method, four headers, the ``x-acs-`` headers and the path with the raw, sorted query."""
    headers = request.headers
    lines = [request.method, *(headers.get(name, "") for name in ("accept", "content-md5", "content-type", "date"))]
    lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-acs-")]
    query = "&".join(f"{name}={value}" if value else name for name, value in sorted(request.query))
    return "\n".join([*lines, request.raw_path + (f"?{query}" if query else "")])
