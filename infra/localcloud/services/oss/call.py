"""One verified and permitted request to OSS, and the answers it can get."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from infra.localcloud.service import ApiError, Identity
from infra.localcloud.services.oss import xml
from infra.localcloud.services.oss.operations import OssOperation
from infra.localcloud.wire import Request, Response

DOCUMENT_LIMIT = 2 << 20  # bytes of an XML or JSON body


@dataclass(frozen=True)
class OssCall:
    """What an operation works with."""

    operation: OssOperation
    request: Request
    bucket: str
    key: str
    region: str
    query: Mapping[str, str]
    identity: Identity | None
    permit: Callable[[str, str, str], None]  # (action, bucket, key): raises AccessDenied unless it is allowed

    def header(self, name: str) -> str:
        """A header's value, empty when there is none."""
        return self.request.headers.get(name, "")

    def document(self) -> bytes:
        """The body as a whole, checked against Content-MD5.

        Raises:
            ApiError: the body is too long or has another digest.
        """
        body = self.request.body.read(DOCUMENT_LIMIT)
        self.check_md5(hashlib.md5(body, usedforsecurity=False).digest())
        return body

    def xml(self, root: str) -> ET.Element:
        """The body's root element.

        Raises:
            ApiError: the body isn't the XML that is expected.
        """
        return xml.parse(self.document(), root)

    def check_md5(self, digest: bytes) -> None:
        """Compares the body's MD5 with Content-MD5, when there is one.

        Raises:
            ApiError: they differ.
        """
        stated = self.header("content-md5")
        if stated and stated != base64.b64encode(digest).decode():
            raise ApiError(400, "InvalidDigest", "The Content-MD5 you specified is not the one of the body.")

    def number(self, name: str, default: int, most: int, least: int = 1) -> int:
        """A query parameter that is a number in a range.

        Raises:
            ApiError: it isn't.
        """
        text = self.query.get(name) or str(default)
        if not text.isdigit() or not least <= int(text) <= most:
            raise ApiError(400, "InvalidArgument", f"Argument {name} must be an integer between {least} and {most}.")
        return int(text)


def document(root: str, value: xml.Value, headers: Mapping[str, str] | None = None) -> Response:
    """A 200 with an XML document."""
    return Response(200, {"Content-Type": "application/xml", **(headers or {})}, xml.render(root, value))


def empty(status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without a body."""
    return Response(status, dict(headers or {}))
