"""Credentials of the instance's RAM role, from the metadata service, never through a proxy.

The SDK's own provider sends these requests through ``HTTP_PROXY`` whatever ``NO_PROXY`` says; a proxy can't reach
the metadata service, or would see the keys. Has what the SDK wants of a credentials provider.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime

import requests
from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_credentials.provider.refreshable import Credentials

METADATA = "http://100.100.100.200"

_TOKEN_SECONDS = 300
_TIMEOUT_S = 2.0
_EARLY_S = 600.0  # before they expire, when new ones are asked for


class InstanceRole:
    """Fetches, keeps and renews the role's temporary keys; safe to share between threads."""

    def __init__(self, url: str = METADATA) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._known: Credentials | None = None
        self._expires = 0.0

    def get_credentials(self) -> Credentials:
        """The keys.

        Raises:
            CredentialException: this isn't an instance, it has no role, or the service doesn't answer and the keys at
                hand have expired.
        """
        with self._lock:
            if self._known is None or time.time() > self._expires - _EARLY_S:
                try:
                    self._known, self._expires = self._fetch()
                except CredentialException:
                    if self._known is None or time.time() > self._expires:
                        raise
            return self._known

    def get_provider_name(self) -> str:
        """The name that the SDK has for such keys."""
        return "ecs_ram_role"

    def _fetch(self) -> tuple[Credentials, float]:
        try:
            with requests.Session() as session:
                session.trust_env = False
                lifetime = {"X-aliyun-ecs-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
                answer = session.put(f"{self._url}/latest/api/token", headers=lifetime, timeout=_TIMEOUT_S)
                answer.raise_for_status()
                session.headers["X-aliyun-ecs-metadata-token"] = answer.text
                base = f"{self._url}/latest/meta-data/ram/security-credentials/"
                role = session.get(base, timeout=_TIMEOUT_S)
                role.raise_for_status()
                keys = session.get(base + role.text.split()[0], timeout=_TIMEOUT_S)
                keys.raise_for_status()
                found = keys.json()
            if found.get("Code") != "Success":
                raise CredentialException(f"the metadata service has no keys: {found.get('Code')}")
            expires = datetime.fromisoformat(found["Expiration"]).timestamp()
            known = Credentials(
                access_key_id=found["AccessKeyId"],
                access_key_secret=found["AccessKeySecret"],
                security_token=found["SecurityToken"],
                expiration=int(expires),
                provider_name=self.get_provider_name(),
            )
        except (requests.RequestException, ValueError, KeyError, IndexError) as error:
            raise CredentialException(f"no role from the metadata service: {error}") from error
        return known, expires
