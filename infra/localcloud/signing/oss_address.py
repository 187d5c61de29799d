"""Which bucket and object a request to OSS addresses: by virtual host or by path."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

_SERVICE_HOST = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]*)\.)?oss-(?P<region>[a-z0-9-]+?)(?P<internal>-internal)?\.aliyuncs\.com"
)


@dataclass(frozen=True)
class OssAddress:
    """The parts of an OSS address; `bucket` is empty for calls to the service, `key` for calls to a bucket."""

    bucket: str
    key: str
    region: str  # empty when the host doesn't say
    virtual_host: bool


def is_local(host: str) -> bool:
    """Whether a host is an IP address or ``localhost``: OSS clients then put the bucket into the path."""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_address(host: str, raw_path: str) -> OssAddress:
    """Reads host and path of a request.

    Raises:
        ValueError: the host isn't one of OSS.
    """
    path = unquote(raw_path.removeprefix("/"))
    if is_local(host):
        bucket, _, key = path.partition("/")
        return OssAddress(bucket, key, "", virtual_host=False)
    match = _SERVICE_HOST.fullmatch(host)
    if match is None:
        raise ValueError(f"{host} is not a host name of OSS")
    if match["bucket"]:
        return OssAddress(match["bucket"], path, match["region"], virtual_host=True)
    bucket, _, key = path.partition("/")
    return OssAddress(bucket, key, match["region"], virtual_host=False)
