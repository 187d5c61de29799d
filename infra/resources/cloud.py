"""What the managed resources share: cloud settings, clients made from them, and Pulumi's unknown values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import alibabacloud_oss_v2 as oss
from alibabacloud_oss_v2.credentials import CredentialsProviderFunc
from alibabacloud_oss_v2.exceptions import OperationError, ServiceError
from alibabacloud_pai_dlc20201203.client import Client as DlcClient
from pulumi.dynamic import CheckFailure, ConfigureRequest, ResourceProvider
from pulumi.output import Unknown
from pulumi.runtime import rpc

from serving.clients.airec import AirecClient
from serving.clients.openapi import ApiError, Target, credentials

PROTOCOLS = ("HTTP", "HTTPS")
PROVIDER_KEY = "__provider"  # pulumi.dynamic's own entry among every resource's properties


class SettingsSource(Protocol):
    """What settings are read from: ``pulumi.dynamic.Config`` and a plain mapping both will do."""

    def get(self, key: str, /) -> Any:
        """The value, or None."""
        ...


@dataclass(frozen=True)
class CloudSettings:
    """Which region the stack lives in and how its API is spoken to: ``HTTP`` or ``HTTPS``."""

    region: str
    protocol: str = "HTTPS"

    @property
    def target(self) -> Target:
        """The same for the clients under ``serving/clients``."""
        return Target(self.region, self.protocol)


def settings_from(config: SettingsSource) -> CloudSettings:
    """Reads ``alicloud:region`` and ``alicloud:protocol`` of the stack's configuration.

    Raises:
        ValueError: the region is missing, or the protocol is neither HTTP nor HTTPS.
    """
    region = config.get("alicloud:region")
    if not region:
        raise ValueError("alicloud:region is not set: pulumi config set alicloud:region cn-hangzhou")
    protocol = str(config.get("alicloud:protocol") or "HTTPS").upper()
    if protocol not in PROTOCOLS:
        raise ValueError(f"alicloud:protocol is {protocol!r}, allowed are {' and '.join(PROTOCOLS)}")
    return CloudSettings(str(region), protocol)


class CloudProvider(ResourceProvider):
    """Base of the dynamic providers: settings come from the stack's configuration, never from resource inputs.

    The engine pickles providers by reference (module and class name); `settings` exists in the provider process only,
    where `configure` runs before anything else.
    """

    serialize_as_secret_always = False
    settings: ClassVar[CloudSettings | None] = None

    def configure(self, req: ConfigureRequest) -> None:
        """Reads the stack's configuration, once per provider process."""
        type(self).settings = settings_from(req.config)

    def cloud(self) -> CloudSettings:
        """The settings.

        Raises:
            RuntimeError: called before `configure`.
        """
        if self.settings is None:
            raise RuntimeError(f"{type(self).__name__} was not configured")
        return self.settings


def oss_client(settings: CloudSettings) -> oss.Client:
    """An OSS client that retries by itself.

    Private roots are taken from ``REQUESTS_CA_BUNDLE``, proxies from ``HTTP_PROXY`` and ``HTTPS_PROXY``.
    """

    def current() -> oss.credentials.Credentials:
        known = credentials().get_credential()
        return oss.credentials.Credentials(known.access_key_id, known.access_key_secret, known.security_token)

    return oss.Client(
        oss.Config(
            region=settings.region,
            credentials_provider=CredentialsProviderFunc(current),
            disable_ssl=settings.protocol == "HTTP",
            retry_max_attempts=5,
        )
    )


def dlc_client(settings: CloudSettings) -> DlcClient:
    """A client of PAI DLC; run its calls through ``serving.clients.openapi.call`` for retries and one-line errors."""
    return DlcClient(settings.target.config(f"pai-dlc.{settings.region}.aliyuncs.com"))


def airec_client(settings: CloudSettings) -> AirecClient:
    """A client of AIRec, which has retries and one-line errors built in."""
    return AirecClient(settings.target)


def oss_error(operation: str, error: OperationError) -> ApiError:
    """The error of an OSS call in the form that every other call's has."""
    cause = error.unwrap()
    if isinstance(cause, ServiceError):
        return ApiError(operation, int(cause.status_code), str(cause.code or ""), str(cause.message or ""))
    return ApiError(operation, 0, "", str(cause))


def read_object(client: oss.Client, bucket: str, key: str) -> bytes | None:
    """The object's content, or None when there is no such object.

    Raises:
        ApiError: in every other case that isn't success, a missing bucket included.
    """
    operation = f"read oss://{bucket}/{key}"
    try:
        result = client.get_object(oss.GetObjectRequest(bucket=bucket, key=key))
        with result.body as body:
            return bytes(body.read())
    except OperationError as error:
        translated = oss_error(operation, error)
        if translated.code == "NoSuchKey":
            return None
        raise translated from error


def list_objects(client: oss.Client, bucket: str, prefix: str) -> Iterator[tuple[str, str, int]]:
    """Key, ETag and size in bytes of every object under `prefix`, in key order.

    Raises:
        ApiError: the bucket can't be listed.
    """
    try:
        for page in client.list_objects_v2_paginator().iter_page(
            oss.ListObjectsV2Request(bucket=bucket, prefix=prefix)
        ):
            for entry in page.contents or []:
                yield str(entry.key), str(entry.etag or "").strip('"'), int(entry.size or 0)
    except OperationError as error:
        raise oss_error(f"list oss://{bucket}/{prefix}", error) from error


def is_unknown(value: Any) -> bool:
    """Whether a value, or anything in it, is not known before the update has run.

    The engine's marker arrives as an object in `check` and `diff` of a preview, as a string in serialised values.
    """
    if isinstance(value, Unknown) or (isinstance(value, str) and value == rpc.UNKNOWN):
        return True
    if isinstance(value, Mapping):
        return any(is_unknown(member) for member in value.values())
    if isinstance(value, list | tuple):
        return any(is_unknown(member) for member in value)
    return False


def known(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Those properties that are known, without the engine's own entry."""
    return {name: value for name, value in properties.items() if name != PROVIDER_KEY and not is_unknown(value)}


def changed(old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Those of `names` whose values differ; a value that isn't known yet counts as different."""
    return [name for name in names if is_unknown(new.get(name)) or old.get(name) != new.get(name)]


def failures(problems: Mapping[str, str]) -> list[CheckFailure]:
    """Problems by property, in the engine's form."""
    return [CheckFailure(name, reason) for name, reason in problems.items()]
