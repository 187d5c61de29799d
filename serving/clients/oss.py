"""Objects of a bucket, read with the credentials of the default chain (on an instance: its RAM role)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss
from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_oss_v2.exceptions import BaseError, ServiceError

from serving.clients.openapi import credentials

_CONNECT_TIMEOUT = 5  # seconds
_READ_TIMEOUT = 60


class OssError(Exception):
    """An object or a bucket that could not be read; the message names it."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing  # the object isn't there, as opposed to a refusal or an outage


class Bucket:
    """Reads objects.

    Args:
        name: the bucket.
        region: its region, for signatures and, without `endpoint`, for the address.
        endpoint: ``https://oss-cn-hangzhou-internal.aliyuncs.com`` or the like.
    """

    def __init__(self, name: str, region: str, endpoint: str | None = None) -> None:
        self.name = name
        config = oss.config.load_default()
        config.region = region
        config.endpoint = endpoint
        config.credentials_provider = oss.credentials.CredentialsProviderFunc(_current)
        config.connect_timeout = _CONNECT_TIMEOUT
        config.readwrite_timeout = _READ_TIMEOUT
        config.retry_max_attempts = 4
        self._client = oss.Client(config)

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with `prefix`, sorted.

        Raises:
            OssError: refused or unreachable.
        """
        request = oss.ListObjectsV2Request(bucket=self.name, prefix=prefix)
        try:
            for page in self._client.list_objects_v2_paginator().iter_page(request):
                for entry in page.contents or []:
                    yield str(entry.key)
        except (BaseError, CredentialException) as error:
            raise self._error(prefix, error) from error

    def read(self, key: str) -> bytes:
        """An object's content.

        Raises:
            OssError: it isn't there, refused or unreachable.
        """
        try:
            result = self._client.get_object(oss.GetObjectRequest(bucket=self.name, key=key))
            with result.body as body:
                return bytes(body.content)
        except (BaseError, CredentialException) as error:
            raise self._error(key, error) from error

    def fetch(self, key: str, path: Path) -> None:
        """Writes an object to `path`, wholly or not at all.

        Raises:
            OssError: it isn't there, refused or unreachable.
            OSError: the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        part = Path(name)
        try:
            self._client.get_object_to_file(oss.GetObjectRequest(bucket=self.name, key=key), name)
            part.replace(path)
        except (BaseError, CredentialException) as error:
            raise self._error(key, error) from error
        finally:
            part.unlink(missing_ok=True)

    def _error(self, key: str, error: BaseError | CredentialException) -> OssError:
        place = f"oss://{self.name}/{key}"
        if isinstance(error, CredentialException):
            return OssError(f"{place}: no credentials: {error.message}")
        cause: BaseException = error
        while isinstance(inner := getattr(cause, "unwrap", lambda: None)(), BaseException):
            cause = inner
        if isinstance(cause, ServiceError):
            return OssError(f"{place}: {cause.code}: {cause.message}", missing=cause.code == "NoSuchKey")
        return OssError(f"{place}: {cause}")


def _current() -> Any:
    now = credentials().get_credential()
    return oss.credentials.Credentials(now.access_key_id, now.access_key_secret, now.security_token or None)
