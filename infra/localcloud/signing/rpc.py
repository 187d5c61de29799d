"""Signature version 1.0 of the RPC style: HMAC-SHA1 over query and form.

The protocol parameters come in the query; business parameters there too (alibaba-cloud-sdk-go, Python) or in the form
(tea-rpc).
"""

from __future__ import annotations

from infra.localcloud.service import ApiError
from infra.localcloud.signing.claim import Claim, parse_time
from infra.localcloud.signing.encoding import hmac_sha1, percent
from infra.localcloud.wire import Request

PROTOCOL_PARAMETERS = frozenset(
    {
        "AccessKeyId",
        "BearerToken",
        "Format",
        "SecurityToken",
        "Signature",
        "SignatureMethod",
        "SignatureNonce",
        "SignatureType",
        "SignatureVersion",
        "Timestamp",
        "Version",
    }
)


def claim(request: Request) -> Claim | None:
    """The claim, or None when the request has no ``Signature`` parameter.

    Raises:
        ApiError: a protocol parameter is missing or has a value that isn't supported.
    """
    parameters = dict(request.query + request.form)
    if "Signature" not in parameters:
        return None
    for name in ("AccessKeyId", "SignatureNonce", "Timestamp"):
        if not parameters.get(name):
            raise ApiError(400, f"Missing{name}", f"{name} is mandatory for this action.")
    if parameters.get("SignatureMethod", "HMAC-SHA1") != "HMAC-SHA1":
        raise ApiError(400, "InvalidParameter.SignatureMethod", "SignatureMethod must be HMAC-SHA1.")
    if parameters.get("SignatureVersion", "1.0") != "1.0":
        raise ApiError(400, "InvalidParameter.SignatureVersion", "SignatureVersion must be 1.0.")
    return Claim(
        algorithm="rpc-v1",
        access_key_id=parameters["AccessKeyId"],
        signature=parameters["Signature"],
        string_to_sign=string_to_sign(request.method, parameters),
        sign=sign,
        signed_at=parse_time(parameters["Timestamp"]),
        nonce=parameters["SignatureNonce"],
        security_token=parameters.get("SecurityToken", ""),
    )


def string_to_sign(method: str, parameters: dict[str, str]) -> str:
    """``METHOD&%2F&`` and the encoded, sorted parameters."""
    pairs = sorted((name, value) for name, value in parameters.items() if name != "Signature")
    canonical = "&".join(f"{percent(name)}={percent(value)}" for name, value in pairs)
    return f"{method}&%2F&{percent(canonical)}"


def sign(secret: str, text: str) -> str:
    """The signature of `text`."""
    return hmac_sha1(secret + "&", text)
