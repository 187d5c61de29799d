"""Operations on single objects, and the deletion of many."""

from __future__ import annotations

import datetime as dt
import mimetypes
import re
from email.utils import format_datetime, parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import parse_qsl, quote, unquote

from infra.localcloud.service import ApiError
from infra.localcloud.services.oss import xml
from infra.localcloud.services.oss.access import ACLS
from infra.localcloud.services.oss.call import OssCall, document, empty
from infra.localcloud.services.oss.catalogue import Content, checked_key, new_version
from infra.localcloud.services.oss.configuration import read_tags, tag_document
from infra.localcloud.services.oss.parts import OssPart
from infra.localcloud.store import Document
from infra.localcloud.wire import FileSlice, Response

KEPT_HEADERS = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
META = "x-oss-meta-"
META_LIMIT = 8 << 10  # bytes
PUT_LIMIT = 5 << 30  # bytes
MOST_DELETED = 1000
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_COPY_SOURCE = re.compile(r"/?([^/]+)/(.+)")


class ObjectOperations(OssPart):
    """Put, get, copy, append, delete, tag."""

    # Writing

    def put_object(self, call: OssCall) -> Response:
        """Stores an object."""
        self.catalogue.bucket(call.bucket)
        checked_key(call.key)
        if call.request.body.size > PUT_LIMIT:
            raise ApiError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size of 5 GB.")
        headers, more = object_headers(call), object_attributes(call)
        content = self.kept_body(call)
        version = new_version(content, "Normal", headers, **more)
        version_id = self._put(call, version)
        return empty(headers=self._written(call, version, version_id) | {"Content-MD5": version["md5"]})

    def copy_object(self, call: OssCall) -> Response:
        """Stores an object that another one is copied from."""
        source_bucket, source_key, source = self.copy_source(call)
        self._check_conditions(call, source, "x-oss-copy-source-")
        directive = call.header("x-oss-metadata-directive").upper() or "COPY"
        if directive not in ("COPY", "REPLACE"):
            raise ApiError(400, "InvalidArgument", "x-oss-metadata-directive must be COPY or REPLACE.")
        if directive == "COPY" and (source_bucket, source_key) == (call.bucket, call.key):
            raise ApiError(
                400, "InvalidArgument", "Copying an object onto itself needs x-oss-metadata-directive: REPLACE."
            )
        content = self._duplicate(source)
        headers = source["headers"] if directive == "COPY" else object_headers(call)
        more = object_attributes(call)
        if (call.header("x-oss-tagging-directive").upper() or "COPY") == "COPY":
            more["tags"] = source["tags"]
        version = new_version(content, "Normal", headers, **more)
        version_id = self._put(call, version)
        body = {"ETag": f'"{version["etag"]}"', "LastModified": version["modified"]}
        return document("CopyObjectResult", body, self._written(call, version, version_id))

    def append_object(self, call: OssCall) -> Response:
        """Adds to the end of an appendable object."""
        checked_key(call.key)
        position = call.number("position", 0, 5 << 40, least=0)
        record = self.catalogue.objects(call.bucket).get(call.key)
        current = record["versions"][0] if record and not record["versions"][0]["marker"] else None
        if current is not None and current["type"] != "Appendable":
            raise ApiError(409, "ObjectNotAppendable", "The object is not appendable.")
        length = current["size"] if current else 0
        if position != length:
            raise ApiError(
                409,
                "PositionNotEqualToLength",
                "Position is not equal to file length.",
                headers={"x-oss-next-append-position": str(length)},
            )
        added = self.kept_body(call)
        content = self.catalogue.join([*([current["blob"]] if current else []), added.blob])
        self.catalogue.remove([added.blob])
        headers = current["headers"] if current else object_headers(call)
        version = new_version(content, "Appendable", headers, **object_attributes(call))
        version_id = self._put(call, version)
        written = self._written(call, version, version_id)
        return empty(headers=written | {"x-oss-next-append-position": str(version["size"])})

    def kept_body(self, call: OssCall) -> Content:
        """The request's body as content, checked against the digests that the client states.

        Raises:
            ApiError: a digest differs.
        """
        content = self.catalogue.keep(call.request.body)
        try:
            call.check_md5(content.md5)
            stated = call.header("x-oss-hash-crc64ecma")
            if stated and stated != str(content.crc64):
                raise ApiError(400, "InvalidDigest", "The CRC-64 you specified is not the one of the body.")
        except ApiError:
            self.catalogue.remove([content.blob])
            raise
        return content

    def copy_source(self, call: OssCall) -> tuple[str, str, Document]:
        """Bucket, key and version that a copy is made from.

        Raises:
            ApiError: the header is malformed, there is no such object, or it may not be read.
        """
        path, _, query = call.header("x-oss-copy-source").partition("?")
        match = _COPY_SOURCE.fullmatch(unquote(path))
        if match is None:
            raise ApiError(400, "InvalidArgument", "x-oss-copy-source must be /bucket/key.")
        call.permit("oss:GetObject", match[1], match[2])
        if self.catalogue.bucket(match[1])["region"] != self.catalogue.bucket(call.bucket)["region"]:
            raise ApiError(403, "AccessDenied", "The source and the target of a copy must lie in the same region.")
        version_id = dict(parse_qsl(query)).get("versionId", "")
        return match[1], match[2], self.catalogue.version(match[1], match[2], version_id)

    # Reading

    def get_object(self, call: OssCall) -> Response:
        """An object, or a range of it."""
        version, file = self._open(call)
        try:
            self._check_conditions(call, version, "")
            headers = self._described(call, version)
            for name in KEPT_HEADERS:
                if override := call.query.get(f"response-{name}"):
                    headers[_title(name)] = override
            size = version["size"]
            span = _range(call.header("range"), size)
            if span is None and call.header("range") and call.header("x-oss-range-behavior") == "standard":
                raise ApiError(416, "InvalidRange", "The requested range cannot be satisfied.")
        except ApiError:
            file.close()
            raise
        if span is None:
            return Response(200, headers, FileSlice(file, 0, size))
        first, last = span
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        headers.pop("Content-MD5", None)
        return Response(206, headers, FileSlice(file, first, last - first + 1))

    def head_object(self, call: OssCall) -> Response:
        """What is known about an object."""
        version = self.catalogue.version(call.bucket, call.key, call.query.get("versionId", ""))
        self._check_conditions(call, version, "")
        return empty(headers=self._described(call, version) | {"Content-Length": str(version["size"])})

    def get_object_meta(self, call: OssCall) -> Response:
        """Length, ETag and time of an object."""
        version = self.catalogue.version(call.bucket, call.key, call.query.get("versionId", ""))
        described = self._described(call, version)
        names = ("ETag", "Last-Modified", "x-oss-hash-crc64ecma", "x-oss-version-id")
        headers = {name: described[name] for name in names if name in described}
        return empty(headers=headers | {"Content-Length": str(version["size"])})

    # Deleting

    def delete_object(self, call: OssCall) -> Response:
        """Deletes an object; one that isn't there is no error."""
        version_id = call.query.get("versionId", "")
        gone, marker = self.catalogue.delete(call.bucket, call.key, version_id)
        headers = {"x-oss-version-id": gone} if gone else {}
        return empty(204, headers | ({"x-oss-delete-marker": "true"} if marker else {}))

    def delete_multiple_objects(self, call: OssCall) -> Response:
        """Deletes up to a thousand objects."""
        self.catalogue.bucket(call.bucket)
        root = call.xml("Delete")
        rows = [(each.findtext("Key") or "", xml.text_of(each, "VersionId")) for each in root.findall("Object")]
        if not 1 <= len(rows) <= MOST_DELETED or any(not key for key, _ in rows):
            raise ApiError(
                400, "MalformedXML", f"1 to {MOST_DELETED} objects, each with a key, can be deleted at once."
            )
        for key, _ in rows:
            call.permit("oss:DeleteObject", call.bucket, key)
        deleted: list[xml.Value] = []
        encoding = call.query.get("encoding-type") or xml.text_of(root, "EncodingType")
        for key, version_id in rows:
            gone, marker = self.catalogue.delete(call.bucket, key, version_id)
            row: dict[str, xml.Value] = {"Key": _encoded(key) if encoding == "url" else key}
            if version_id:
                row["VersionId"] = version_id
            if marker:
                row |= {"DeleteMarker": True, "DeleteMarkerVersionId": gone}
            deleted.append(row)
        if xml.text_of(root, "Quiet").lower() == "true":
            return document("DeleteResult", {})
        return document("DeleteResult", {"EncodingType": encoding or None, "Deleted": deleted})

    # Tags and ACL

    def get_object_tagging(self, call: OssCall) -> Response:
        """The tags."""
        return tag_document(self._version(call)["tags"])

    def put_object_tagging(self, call: OssCall) -> Response:
        """Replaces the tags."""
        self.catalogue.change(call.bucket, call.key, self._version(call) | {"tags": read_tags(call)})
        return empty()

    def delete_object_tagging(self, call: OssCall) -> Response:
        """Removes the tags."""
        self.catalogue.change(call.bucket, call.key, self._version(call) | {"tags": {}})
        return empty(204)

    def get_object_acl(self, call: OssCall) -> Response:
        """The ACL; ``default`` follows the bucket."""
        grant = self._version(call)["acl"]
        return document("AccessControlPolicy", {"Owner": self.owner(), "AccessControlList": {"Grant": grant}})

    def put_object_acl(self, call: OssCall) -> Response:
        """Sets the ACL."""
        acl = _checked_acl(call.header("x-oss-object-acl"))
        if acl.startswith("public") and self.catalogue.bucket(call.bucket)["blockPublicAccess"]:
            raise ApiError(
                403, "AccessDenied", "Put public object acl is not allowed: the bucket blocks public access."
            )
        self.catalogue.change(call.bucket, call.key, self._version(call) | {"acl": acl})
        return empty()

    # Parts of the above

    def _version(self, call: OssCall) -> Document:
        return self.catalogue.version(call.bucket, call.key, call.query.get("versionId", ""))

    def _put(self, call: OssCall, version: Document) -> str:
        acl = version["acl"]
        try:
            if acl.startswith("public") and self.catalogue.bucket(call.bucket)["blockPublicAccess"]:
                raise ApiError(403, "AccessDenied", "Put public object acl is not allowed: public access is blocked.")
            forbidden = call.header("x-oss-forbid-overwrite").lower() == "true"
            return self.catalogue.put(call.bucket, call.key, version, forbid_overwrite=forbidden)
        except ApiError:
            self.catalogue.remove([version["blob"]])
            raise

    def _open(self, call: OssCall) -> tuple[Document, BinaryIO]:
        for _ in range(3):
            version = self._version(call)
            try:
                return version, self.catalogue.path(version["blob"]).open("rb")
            except FileNotFoundError:
                continue  # replaced between the two steps
        raise ApiError(
            500, "InternalError", f"The content of {call.bucket}/{call.key} is missing from the state folder."
        )

    def _duplicate(self, source: Document) -> Content:
        return self.catalogue.join([source["blob"]])

    def _written(self, call: OssCall, version: Document, version_id: str) -> dict[str, str]:
        headers = {"ETag": f'"{version["etag"]}"', "x-oss-hash-crc64ecma": version["crc64"]}
        if version_id:
            headers["x-oss-version-id"] = version_id
        return headers | self.encryption_headers(self.catalogue.bucket(call.bucket))

    def _described(self, call: OssCall, version: Document) -> dict[str, str]:
        bucket = self.catalogue.bucket(call.bucket)
        headers = {_title(name): value for name, value in version["headers"].items()}
        headers |= {
            "ETag": f'"{version["etag"]}"',
            "Last-Modified": format_datetime(_modified(version), usegmt=True),
            "Accept-Ranges": "bytes",
            "x-oss-object-type": version["type"],
            "x-oss-storage-class": "Standard",
            "x-oss-hash-crc64ecma": version["crc64"],
        }
        if version["type"] == "Normal":
            headers["Content-MD5"] = version["md5"]
        if version["type"] == "Appendable":
            headers["x-oss-next-append-position"] = str(version["size"])
        if version["tags"]:
            headers["x-oss-tagging-count"] = str(len(version["tags"]))
        if bucket.get("versioning"):
            headers["x-oss-version-id"] = version["id"]
        return headers | self.encryption_headers(bucket)

    def _check_conditions(self, call: OssCall, version: Document, prefix: str) -> None:
        etag, modified = version["etag"], _modified(version)
        failed = ApiError(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
        not_modified = (
            failed if prefix else ApiError(304, "NotModified", "Not modified.", headers={"ETag": f'"{etag}"'})
        )
        if (wanted := call.header(f"{prefix}if-match")) and not _names_etag(wanted, etag):
            raise failed
        if (since := _date(call.header(f"{prefix}if-unmodified-since"))) and modified > since:
            raise failed
        if (unwanted := call.header(f"{prefix}if-none-match")) and _names_etag(unwanted, etag):
            raise not_modified
        if (since := _date(call.header(f"{prefix}if-modified-since"))) and modified <= since:
            raise not_modified


def object_headers(call: OssCall) -> dict[str, str]:
    """The headers and the user's metadata that are kept with an object.

    Raises:
        ApiError: the metadata is too long.
    """
    headers = call.request.headers
    kept = {name: headers[name] for name in KEPT_HEADERS if headers.get(name)}
    kept.setdefault("content-type", guessed_type(call.key))
    meta = {name: value for name, value in headers.items() if name.startswith(META)}
    if sum(len(name) + len(value) for name, value in meta.items()) > META_LIMIT:
        raise ApiError(400, "InvalidArgument", f"User metadata is longer than {META_LIMIT} bytes.")
    return kept | meta


def guessed_type(key: str) -> str:
    """The media type by a key's suffix."""
    return mimetypes.guess_type(key)[0] or "application/octet-stream"


def object_attributes(call: OssCall) -> Document:
    """Tags and ACL that an object is created with.

    Raises:
        ApiError: an attribute has a value that isn't supported.
    """
    tags = dict(parse_qsl(call.header("x-oss-tagging"), keep_blank_values=True))
    if len(tags) > 10:
        raise ApiError(400, "InvalidTag", "An object has at most 10 tags.")
    storage_class = call.header("x-oss-storage-class") or "Standard"
    if storage_class != "Standard":
        raise ApiError(400, "InvalidArgument", "The local cloud keeps objects of the storage class Standard only.")
    return {"tags": tags, "acl": _checked_acl(call.header("x-oss-object-acl") or "default")}


def _checked_acl(acl: str) -> str:
    if acl not in ("default", *ACLS):
        raise ApiError(400, "InvalidArgument", f"x-oss-object-acl must be default or one of {', '.join(ACLS)}.")
    return acl


def _modified(version: Document) -> dt.datetime:
    return dt.datetime.strptime(version["modified"], "%Y-%m-%dT%H:%M:%S.000Z").replace(tzinfo=dt.UTC)


def _date(text: str) -> dt.datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None


def _names_etag(header: str, etag: str) -> bool:
    return any(each.strip().strip('"') in ("*", etag) for each in header.split(","))


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a range; None when there is no range that fits: OSS then sends everything."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", "") or size == 0:
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return (size - length, size - 1) if length else None
    first, last = int(match[1]), int(match[2] or size - 1)
    if first >= size or last < first:
        return None
    return first, min(last, size - 1)


def _title(name: str) -> str:
    return name if name.startswith("x-oss-") else name.title()


def _encoded(key: str) -> str:
    return quote(key, safe="~")
