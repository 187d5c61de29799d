"""The signatures of OSS: versions 1 and 4, in the Authorization header and in presigned URLs."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from urllib.parse import unquote

from infra.localcloud.service import ApiError
from infra.localcloud.signing.claim import Claim, parse_time
from infra.localcloud.signing.encoding import hmac_sha1, hmac_sha256, percent
from infra.localcloud.signing.oss_address import OssAddress
from infra.localcloud.wire import Request

V4 = "OSS4-HMAC-SHA256"
LONGEST_PRESIGNED_V4 = 7 * 24 * 3600  # seconds

# Query parameters that version 1 signs: the union of the official clients' lists.
_V1_SIGNED = frozenset(
    """
    accessPoint accessPointPolicy acl append asyncFetch bucketArchiveDirectRead bucketInfo callback callback-var
    cloudboxes cname comp continuation-token cors delete encryption endTime group httpsConfig img inventory
    inventoryId lifecycle link live location logging metaQuery objectInfo objectMeta partNumber policy
    policyStatus position publicAccessBlock qos qosInfo qosRequester redundancyTransition referer regionList
    replication replicationLocation replicationProgress requestPayment requesterQosInfo resourceGroup resourcePool
    resourcePoolBuckets resourcePoolInfo response-cache-control response-content-disposition
    response-content-encoding response-content-language response-content-type response-expires restore rtc
    security-token sequential startTime stat status style styleName symlink tagging transferAcceleration udf
    udfApplication udfApplicationLog udfId udfImage udfImageDesc udfName uploadId uploads versionId versioning
    versions vod website withHashContext worm wormExtend wormId x-oss-ac-forward-allow x-oss-ac-source-ip
    x-oss-ac-subnet-mask x-oss-ac-vpc-id x-oss-access-point-name x-oss-async-process x-oss-enable-md5
    x-oss-enable-sha1 x-oss-enable-sha256 x-oss-hash-ctx x-oss-md5-ctx x-oss-process
    x-oss-redundancy-transition-taskid x-oss-request-payer x-oss-target-redundancy-type x-oss-traffic-limit
    x-oss-write-get-object-response
    """.split()  # noqa: SIM905 - a list of strings would be sixty lines
)
_V4_AUTHORIZATION = re.compile(rf"{V4}\s+(.+)")
_V4_DEFAULT_HEADERS = ("content-type", "content-md5")


def claim(request: Request, address: OssAddress) -> Claim | None:
    """The claim of an OSS request, or None when it is anonymous.

    Raises:
        ApiError: the signature's form is malformed or not supported.
    """
    authorization = request.headers.get("authorization", "")
    query = dict(request.query)
    if authorization.startswith(V4):
        return _v4_header(request, address, authorization)
    if authorization.startswith("OSS "):
        return _v1_header(request, address, authorization)
    if authorization:
        raise ApiError(400, "InvalidArgument", "The Authorization header must begin with OSS4-HMAC-SHA256 or OSS.")
    if "x-oss-signature" in query:
        return _v4_query(request, address, query)
    if "Signature" in query and "OSSAccessKeyId" in query:
        return _v1_query(request, address, query)
    return None


def _v1_header(request: Request, address: OssAddress, authorization: str) -> Claim:
    access_key_id, _, signature = authorization.removeprefix("OSS ").strip().partition(":")
    if not access_key_id or not signature:
        raise ApiError(400, "InvalidArgument", "The Authorization header must be: OSS AccessKeyId:Signature")
    date = request.headers.get("x-oss-date") or request.headers.get("date", "")
    return Claim(
        algorithm="oss-v1",
        access_key_id=access_key_id,
        signature=signature,
        string_to_sign=v1_string_to_sign(request, address, date),
        sign=hmac_sha1,
        signed_at=parse_time(date),
        # The vendor's newest Python SDK sends the token of version 1 in `security-token`.
        security_token=request.headers.get("x-oss-security-token") or request.headers.get("security-token", ""),
    )


def _v1_query(request: Request, address: OssAddress, query: dict[str, str]) -> Claim:
    expires = query.get("Expires", "")
    if not expires.isdigit():
        raise ApiError(403, "AccessDenied", "Invalid date (should be seconds since epoch).")
    return Claim(
        algorithm="oss-v1-query",
        access_key_id=query["OSSAccessKeyId"],
        signature=query["Signature"],
        string_to_sign=v1_string_to_sign(request, address, expires),
        sign=hmac_sha1,
        expires=dt.datetime.fromtimestamp(int(expires), dt.UTC),
        security_token=query.get("security-token", ""),
    )


def v1_string_to_sign(request: Request, address: OssAddress, date: str) -> str:
    """Verb, three headers, the ``x-oss-`` headers and the resource with its signed sub-resources."""
    headers = request.headers
    oss_headers = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-oss-"))
    signed = sorted((name, value) for name, value in request.query if name in _V1_SIGNED)
    resource = _resource(address)
    if signed:
        resource += "?" + "&".join(f"{name}={value}" if value else name for name, value in signed)
    return "\n".join(
        (
            request.method,
            headers.get("content-md5", ""),
            headers.get("content-type", ""),
            date,
            oss_headers + resource,
        )
    )


def _v4_header(request: Request, address: OssAddress, authorization: str) -> Claim:
    match = _V4_AUTHORIZATION.fullmatch(authorization.strip())
    fields = {
        name.strip(): value.strip()
        for name, _, value in (part.partition("=") for part in (match[1] if match else "").split(","))
    }
    if not fields.get("Credential") or not fields.get("Signature"):
        raise ApiError(400, "InvalidArgument", f"The Authorization header must be: {V4} Credential=...,Signature=...")
    access_key_id, day, region = _scope(fields["Credential"], address)
    # aliyun-oss-go-sdk 2 sends no x-oss-date and signs the Date header as it stands.
    date = request.headers.get("x-oss-date") or request.headers.get("date", "")
    signed_at = parse_time(date)
    _check_day(signed_at, day)
    payload = request.headers.get("x-oss-content-sha256", "")
    if not payload:
        raise ApiError(400, "InvalidArgument", "The header x-oss-content-sha256 is mandatory.")
    additional = [name for name in fields.get("AdditionalHeaders", "").lower().split(";") if name]
    return Claim(
        algorithm="oss-v4",
        access_key_id=access_key_id,
        signature=fields["Signature"].lower(),
        string_to_sign=v4_string_to_sign(request, address, date, f"{day}/{region}", additional, payload),
        sign=v4_sign,
        signed_at=signed_at,
        security_token=request.headers.get("x-oss-security-token", ""),
    )


def _v4_query(request: Request, address: OssAddress, query: dict[str, str]) -> Claim:
    if query.get("x-oss-signature-version") != V4:
        raise ApiError(400, "InvalidArgument", f"x-oss-signature-version must be {V4}.")
    access_key_id, day, region = _scope(query.get("x-oss-credential", ""), address)
    date = query.get("x-oss-date", "")
    signed_at = parse_time(date)
    _check_day(signed_at, day)
    seconds = query.get("x-oss-expires", "")
    if signed_at is None or not seconds.isdigit() or not 1 <= int(seconds) <= LONGEST_PRESIGNED_V4:
        raise ApiError(400, "InvalidArgument", f"x-oss-expires must be 1 to {LONGEST_PRESIGNED_V4} seconds.")
    additional = [name for name in query.get("x-oss-additional-headers", "").lower().split(";") if name]
    return Claim(
        algorithm="oss-v4-query",
        access_key_id=access_key_id,
        signature=query["x-oss-signature"].lower(),
        string_to_sign=v4_string_to_sign(
            request,
            address,
            date,
            f"{day}/{region}",
            additional,
            request.headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
        ),
        sign=v4_sign,
        expires=signed_at + dt.timedelta(seconds=int(seconds)),
        security_token=query.get("x-oss-security-token", ""),
    )


def v4_string_to_sign(
    request: Request, address: OssAddress, date: str, day_and_region: str, additional: list[str], payload: str
) -> str:
    """Algorithm, date, scope and the digest of the canonical request."""
    query = sorted((percent(name), percent(value)) for name, value in request.query if name != "x-oss-signature")
    names = sorted(
        name
        for name in request.headers
        if name.startswith("x-oss-") or name in _V4_DEFAULT_HEADERS or name in additional
    )
    canonical = "\n".join(
        (
            request.method,
            percent(_resource(address), safe="/"),
            "&".join(f"{name}={value}" if value else name for name, value in query),
            "".join(f"{name}:{_header(request, name)}\n" for name in names),
            ";".join(sorted(additional)),
            payload,
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"{V4}\n{date}\n{day_and_region}/oss/aliyun_v4_request\n{digest}"


def v4_sign(secret: str, text: str) -> str:
    """The signature of `text`, by a key derived from the scope in its third line."""
    day, region, product, terminator = text.split("\n")[2].split("/")
    key = f"aliyun_v4{secret}".encode()
    for part in (day, region, product, terminator):
        key = hmac_sha256(key, part)
    return hmac_sha256(key, text).hex()


def _scope(credential: str, address: OssAddress) -> tuple[str, str, str]:
    parts = unquote(credential).split("/")
    if len(parts) != 5 or parts[3:] != ["oss", "aliyun_v4_request"]:
        raise ApiError(400, "InvalidArgument", "The credential must be AccessKeyId/day/region/oss/aliyun_v4_request.")
    access_key_id, day, region = parts[:3]
    if address.region and region != address.region:
        raise ApiError(
            400, "InvalidArgument", f"Invalid signing region in Authorization header: {region}, not {address.region}."
        )
    return access_key_id, day, region


def _check_day(signed_at: dt.datetime | None, day: str) -> None:
    if signed_at is None or signed_at.strftime("%Y%m%d") != day:
        raise ApiError(403, "AccessDenied", "Invalid date: the request's date and the credential's scope differ.")


def _resource(address: OssAddress) -> str:
    return f"/{address.bucket}/{address.key}" if address.bucket else "/"


def _header(request: Request, name: str) -> str:
    return (request.authority if name == "host" else request.headers[name]).strip()
