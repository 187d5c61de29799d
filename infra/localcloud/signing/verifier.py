"""Decides whether a claim holds: key, token, time, nonce, signature; in that order, in the vendor's error codes."""

from __future__ import annotations

import datetime as dt
import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.localcloud.service import ApiError, Identity
from infra.localcloud.signing import acs3, oss, roa, rpc
from infra.localcloud.signing.claim import AccessKey, Claim, KeyRing
from infra.localcloud.signing.oss_address import OssAddress
from infra.localcloud.wire import Request

SKEW = dt.timedelta(minutes=15)


@dataclass(frozen=True)
class Refusals:
    """Status and code of each way to fail; the message is added."""

    unknown_key: tuple[int, str]
    missing_token: tuple[int, str]
    wrong_token: tuple[int, str]
    expired_token: tuple[int, str]
    skewed: tuple[int, str]
    mismatch: tuple[int, str]


API = Refusals(
    unknown_key=(404, "InvalidAccessKeyId.NotFound"),
    missing_token=(400, "MissingSecurityToken"),
    wrong_token=(400, "InvalidSecurityToken.MismatchWithAccessKey"),
    expired_token=(400, "InvalidSecurityToken.Expired"),
    skewed=(400, "InvalidTimeStamp.Expired"),
    mismatch=(400, "SignatureDoesNotMatch"),
)
OSS = Refusals(
    unknown_key=(403, "InvalidAccessKeyId"),
    missing_token=(403, "InvalidAccessKeyId"),
    wrong_token=(403, "InvalidSecurityToken"),
    expired_token=(403, "SecurityTokenExpired"),
    skewed=(403, "RequestTimeTooSkewed"),
    mismatch=(403, "SignatureDoesNotMatch"),
)


class Verifier:
    """Verifies signatures against a key ring; remembers nonces for as long as they could be replayed."""

    def __init__(self, keys: KeyRing, *, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        self._keys = keys
        self._now = now
        self._lock = threading.Lock()
        self._nonces: dict[tuple[str, str], dt.datetime] = {}

    def verify_api(self, request: Request) -> Identity:
        """Who signed an RPC or ROA call.

        Raises:
            ApiError: it is unsigned, or the signature isn't good.
        """
        claim = acs3.claim(request) or roa.claim(request) or rpc.claim(request)
        if claim is None:
            raise ApiError(400, "IncompleteSignature", "The request is not signed, or with an unknown signature.")
        return self._check(claim, API)

    def verify_oss(self, request: Request, address: OssAddress) -> Identity | None:
        """Who signed a call to OSS; None for an anonymous one.

        Raises:
            ApiError: the signature isn't good.
        """
        claim = oss.claim(request, address)
        return None if claim is None else self._check(claim, OSS)

    def _check(self, claim: Claim, refusals: Refusals) -> Identity:
        key = self._keys.find(claim.access_key_id)
        if key is None:
            raise ApiError(*refusals.unknown_key, "Specified access key is not found.")
        self._check_token(claim, key, refusals)
        self._check_time(claim, refusals)
        if not hmac.compare_digest(claim.sign(key.secret, claim.string_to_sign).encode(), claim.signature.encode()):
            message = "The request signature we calculated does not match the signature you provided."
            if refusals is OSS:
                message += " Check your key and signing method."
                details: dict[str, Any] = {"StringToSign": claim.string_to_sign, "SignatureProvided": claim.signature}
                if claim.security_token:  # would be repeated
                    details.clear()
                raise ApiError(*refusals.mismatch, message, **details)
            # The vendor adds its string to sign; here it would carry parameters (user data) into the callers' logs.
            raise ApiError(*refusals.mismatch, "Specified signature is not matched with our calculation.")
        if claim.nonce:
            self._use_nonce(claim)
        return key.identity

    def _check_token(self, claim: Claim, key: AccessKey, refusals: Refusals) -> None:
        if not key.security_token:
            if claim.security_token:
                raise ApiError(*refusals.wrong_token, "The access key is not a temporary one: it has no token.")
            return
        if not claim.security_token:
            raise ApiError(*refusals.missing_token, "SecurityToken is mandatory for this access key.")
        if not hmac.compare_digest(key.security_token.encode(), claim.security_token.encode()):
            raise ApiError(*refusals.wrong_token, "Specified SecurityToken does not belong to the access key.")
        if key.expires is not None and key.expires <= self._now():
            raise ApiError(*refusals.expired_token, "Specified SecurityToken is expired.")

    def _check_time(self, claim: Claim, refusals: Refusals) -> None:
        now = self._now()
        if claim.expires is not None:
            if claim.expires <= now:
                raise ApiError(403, "AccessDenied", "Request has expired.", Expires=claim.expires.isoformat())
            return
        if claim.signed_at is None or abs(now - claim.signed_at) > SKEW:
            raise ApiError(*refusals.skewed, "Specified time stamp or date value is expired or malformed.")

    def _use_nonce(self, claim: Claim) -> None:
        now = self._now()
        with self._lock:
            if len(self._nonces) > 10_000:
                self._nonces = {used: until for used, until in self._nonces.items() if until > now}
            if self._nonces.get((claim.access_key_id, claim.nonce), now) > now:
                raise ApiError(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
            self._nonces[claim.access_key_id, claim.nonce] = now + 2 * SKEW
