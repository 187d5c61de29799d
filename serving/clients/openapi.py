"""Calls of Alibaba Cloud's OpenAPI: where to, with which credentials, with which retries, and errors in one line."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from alibabacloud_credentials.client import Client as Credentials
from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_credentials.models import Config as CredentialsConfig
from alibabacloud_credentials.provider import (
    CLIProfileCredentialsProvider,
    OIDCRoleArnCredentialsProvider,
    ProfileCredentialsProvider,
)
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.exceptions import RetryError, UnretryableException
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from serving.clients.instance_role import InstanceRole

T = TypeVar("T")

_CONNECT_TIMEOUT_MS = 5_000
_READ_TIMEOUT_MS = 30_000


class ApiError(Exception):
    """A call that failed or was refused, said in one line.

    `status` is the HTTP status, or 0 when no answer came; `code` is the vendor's error code.
    """

    def __init__(self, operation: str, status: int, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code}: {message}" if code else f"{operation}: {message}")
        self.operation = operation
        self.status = status
        self.code = code

    @property
    def not_found(self) -> bool:
        """The object isn't there; a lost permission or an outage is something else."""
        return self.status == 404

    @property
    def transient(self) -> bool:
        """The same call may succeed a moment later: no answer, a server error, or throttling."""
        return self.status == 0 or self.status >= 500 or self.status == 429 or self.code.startswith("Throttling")


@dataclass(frozen=True)
class Target:
    """Where the calls of a region go. `protocol` is ``HTTP`` or ``HTTPS``; `ca_file` overrides the trusted roots.

    The SDK takes HTTP proxies from the environment but ignores ``SSL_CERT_FILE``, hence `ca_file`.
    """

    region: str
    protocol: str = "HTTPS"
    ca_file: str | None = None

    def config(self, host: str) -> Config:
        """The SDK's configuration for the service at `host`, with credentials of the default chain."""
        return Config(
            credential=credentials(),
            endpoint=host,
            region_id=self.region,
            protocol=self.protocol,
            ca=self.ca_file or ca_file_from_environment(),
            connect_timeout=_CONNECT_TIMEOUT_MS,
            read_timeout=_READ_TIMEOUT_MS,
        )


def ca_file_from_environment() -> str | None:
    """The private roots that the environment names, or None."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None


def credentials() -> Any:
    """The default chain: environment, OIDC, configuration files, the instance's role; it refreshes itself.

    The order is the SDK's. The environment is looked at here: the SDK reads it only once, when it is imported.
    """
    key_id = os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_ID")
    secret = os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_SECRET")
    if not (key_id and secret):
        return _other_sources()
    token = os.environ.get("ALIBABA_CLOUD_SECURITY_TOKEN")
    kind = "sts" if token else "access_key"
    return Credentials(
        CredentialsConfig(type=kind, access_key_id=key_id, access_key_secret=secret, security_token=token)
    )


class _Sources:
    """Asks each source until one has keys, and from then on that one."""

    def __init__(self) -> None:
        self._sources: list[Any] = [CLIProfileCredentialsProvider(), ProfileCredentialsProvider()]
        if os.environ.get("ALIBABA_CLOUD_OIDC_TOKEN_FILE"):
            self._sources.insert(0, OIDCRoleArnCredentialsProvider())
        if os.environ.get("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "").lower() != "true":
            self._sources.append(InstanceRole())

    def get_credentials(self) -> Any:
        reasons = []
        for source in self._sources:
            try:
                found = source.get_credentials()
            except (CredentialException, OSError, ValueError) as error:
                reasons.append(f"{source.get_provider_name()}: {error}")
            else:
                self._sources = [source]
                return found
        raise CredentialException("; ".join(reasons))

    def get_provider_name(self) -> str:
        return "default"


@functools.cache
def _other_sources() -> Any:
    return Credentials(provider=_Sources())


def call(operation: str, request: Callable[[], T], *, attempts: int = 5) -> T:
    """Runs `request`, again after transient failures with growing pauses.

    Args:
        operation: names the call in errors.
        request: does the call with the official SDK.
        attempts: how often at most; 1 for calls that must not be repeated blindly.

    Raises:
        ApiError: refused, or still failing after the last attempt.
    """
    policy = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, ApiError) and error.transient),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential_jitter(multiplier=0.2, max=5.0, jitter=0.3),
        reraise=True,
    )
    answer: T = policy(_translated, operation, request)
    return answer


def _translated(operation: str, request: Callable[[], T]) -> T:
    try:
        return request()
    except AlibabaCloudException as error:
        raise ApiError(operation, error.status_code or 0, error.code or "", _message(error)) from error
    except CredentialException as error:
        hint = "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or give the instance a role"
        raise ApiError(operation, 401, "NoCredentials", f"{hint} ({error.message})") from error
    except UnretryableException as error:
        if isinstance(error.inner_exception, RetryError):
            raise ApiError(operation, 0, "", f"no answer: {error.inner_exception.message}") from error
        raise ApiError(operation, 0, "", f"unreadable answer: {error}") from error


def _message(error: AlibabaCloudException) -> str:
    """The vendor's text without the SDK's ``code: 400,`` prefix."""
    text = str(error.message)
    prefix = f"code: {error.status_code}, "
    return text.removeprefix(prefix)
