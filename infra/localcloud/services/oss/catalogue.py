"""Buckets, objects and their versions: records in the store, content in files."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crcmod

from infra.localcloud.service import ApiError
from infra.localcloud.store import Collection, Document, Store
from infra.localcloud.wire import CHUNK, Body

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_CRC64 = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True)  # ECMA-182
NULL_VERSION = "null"
LONGEST_KEY = 1023  # bytes


@dataclass(frozen=True)
class Content:
    """A file of the catalogue with its digests."""

    blob: str  # path below the content folder
    size: int
    md5: bytes
    crc64: int

    @property
    def etag(self) -> str:
        """MD5 in upper case hexadecimal, as OSS forms ETags."""
        return self.md5.hex().upper()


class Digests:
    """MD5 and CRC-64 of content that comes in pieces."""

    def __init__(self, crc64: int = 0) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.crc64 = crc64
        self.size = 0

    def update(self, chunk: bytes) -> None:
        """Takes the next piece."""
        self._md5.update(chunk)
        self.crc64 = _CRC64(chunk, self.crc64)
        self.size += len(chunk)

    @property
    def md5(self) -> bytes:
        """The MD5 so far."""
        return self._md5.digest()


class Catalogue:
    """What OSS keeps. Records are written in transactions; content goes into place before, and away after them."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self._content = folder / "content"
        self.buckets = store.collection("oss.bucket")

    # Buckets

    def bucket(self, name: str) -> Document:
        """The bucket's record.

        Raises:
            ApiError: there is no such bucket.
        """
        found = self.buckets.get(name)
        if found is None:
            raise ApiError(404, "NoSuchBucket", "The specified bucket does not exist.", BucketName=name)
        return found

    def create_bucket(self, name: str, record: Document) -> None:
        """Adds a bucket, or changes nothing but the ACL of one that is there already.

        Raises:
            ApiError: the name isn't one that a bucket may have.
        """
        if not _BUCKET_NAME.fullmatch(name):
            raise ApiError(400, "InvalidBucketName", "The specified bucket is not valid.", BucketName=name)
        with self.store.transaction():
            known = self.buckets.get(name)
            self.buckets.put(name, record if known is None else known | {"acl": record["acl"]})

    def delete_bucket(self, name: str) -> None:
        """Removes an empty bucket.

        Raises:
            ApiError: the bucket isn't empty: it has objects, versions or unfinished uploads.
        """
        with self.store.transaction():
            self.bucket(name)
            if self.objects(name).keys() or self.uploads(name).keys():
                raise ApiError(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.", BucketName=name)
            self.buckets.delete(name)

    def objects(self, bucket: str) -> Collection:
        """Key -> ``{"versions": [newest, ...]}``."""
        return self.store.collection(f"oss.object/{bucket}")

    def uploads(self, bucket: str) -> Collection:
        """Upload id -> multipart upload."""
        return self.store.collection(f"oss.upload/{bucket}")

    # Content

    def path(self, blob: str) -> Path:
        """The file of a content."""
        return self._content / blob

    def keep(self, body: Body) -> Content:
        """Takes a request's body over."""
        digests = Digests()
        for chunk in body.chunks():
            digests.update(chunk)
        blob = _new_blob()
        body.save(self.path(blob))
        return Content(blob, digests.size, digests.md5, digests.crc64)

    def join(self, blobs: list[str]) -> Content:
        """New content made of others, one after the other."""
        return self.write(chunk for blob in blobs for chunk in _chunks(self.path(blob)))

    def write(self, chunks: Iterator[bytes]) -> Content:
        """New content from pieces."""
        digests, blob = Digests(), _new_blob()
        path = self.path(blob)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        try:
            with partial.open("xb") as file:
                for chunk in chunks:
                    digests.update(chunk)
                    file.write(chunk)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return Content(blob, digests.size, digests.md5, digests.crc64)

    def remove(self, blobs: list[str]) -> None:
        """Removes content that no record names any more."""
        for blob in blobs:
            if blob:
                self.path(blob).unlink(missing_ok=True)

    def sweep(self, before: float) -> int:
        """Removes content older than `before` (Unix time) that no record names: a crash left it. Returns how many."""
        named: set[str] = set()
        for bucket in self.buckets:
            for record in self.objects(bucket).values():
                named.update(version["blob"] for version in record["versions"])
            for upload in self.uploads(bucket).values():
                named.update(part["blob"] for part in upload["parts"].values())
        stale = [
            path
            for path in self._content.glob("*/*")
            if path.relative_to(self._content).as_posix() not in named and path.stat().st_mtime < before
        ]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    # Objects

    def version(self, bucket: str, key: str, version_id: str = "") -> Document:
        """The current version of an object, or a certain one.

        Raises:
            ApiError: there is no such object or version; the current one is a delete marker.
        """
        record = self.objects(bucket).get(key)
        versions: list[Document] = record["versions"] if record else []
        if version_id:
            found = next((each for each in versions if each["id"] == version_id), None)
            if found is None:
                raise ApiError(404, "NoSuchVersion", "The specified version does not exist.", Key=key)
            if found["marker"]:
                raise ApiError(405, "MethodNotAllowed", "The specified version is a delete marker.")
            return found
        if not versions or versions[0]["marker"]:
            raise ApiError(404, "NoSuchKey", "The specified key does not exist.", Key=key)
        return versions[0]

    def put(self, bucket: str, key: str, version: Document, *, forbid_overwrite: bool = False) -> str:
        """Makes `version` the current one and returns its version id, empty where versioning never was on.

        Raises:
            ApiError: the bucket is gone, the key is invalid, or there is an object already and it must stay.
        """
        checked_key(key)
        with self.store.transaction():
            status = self.bucket(bucket).get("versioning", "")
            record = self.objects(bucket).get(key) or {"versions": []}
            versions: list[Document] = record["versions"]
            if forbid_overwrite and versions and not versions[0]["marker"]:
                raise ApiError(
                    409, "FileAlreadyExists", "The object you specified already exists and can not be overwritten."
                )
            version["id"] = _new_version_id() if status == "Enabled" else NULL_VERSION
            stale = [each for each in versions if each["id"] == version["id"]]
            kept = [each for each in versions if each["id"] != version["id"]]
            self.objects(bucket).put(key, {"versions": [version, *kept]})
        self.remove([each["blob"] for each in stale])
        return version["id"] if status else ""

    def change(self, bucket: str, key: str, version: Document) -> None:
        """Writes a version's record back in its place."""
        with self.store.transaction():
            record = self.objects(bucket).get(key) or {"versions": []}
            versions = [version if each["id"] == version["id"] else each for each in record["versions"]]
            self.objects(bucket).put(key, {"versions": versions})

    def delete(self, bucket: str, key: str, version_id: str = "") -> tuple[str, bool]:
        """Deletes an object or one version; returns the version id and whether it is or was a delete marker."""
        removed: list[str] = []
        with self.store.transaction():
            status = self.bucket(bucket).get("versioning", "")
            record = self.objects(bucket).get(key)
            versions: list[Document] = record["versions"] if record else []
            if version_id or not status:
                wanted = version_id or NULL_VERSION
                gone = [each for each in versions if each["id"] == wanted]
                versions = [each for each in versions if each["id"] != wanted]
                result = (version_id, any(each["marker"] for each in gone))
            else:
                marker_id = _new_version_id() if status == "Enabled" else NULL_VERSION
                gone = [each for each in versions if each["id"] == marker_id]
                marker = {"id": marker_id, "marker": True, "blob": "", "modified": timestamp()}
                versions = [marker, *(each for each in versions if each["id"] != marker_id)]
                result = (marker_id, True)
            removed = [each["blob"] for each in gone]
            if versions:
                self.objects(bucket).put(key, {"versions": versions})
            else:
                self.objects(bucket).delete(key)
        self.remove(removed)
        return result

    def current(self, bucket: str, prefix: str = "") -> Iterator[tuple[str, Document]]:
        """Objects with their current versions, in key order, deleted ones left out."""
        for key, record in self.objects(bucket).items(prefix):
            newest = record["versions"][0]
            if not newest["marker"]:
                yield key, newest


def new_version(content: Content, kind: str, headers: dict[str, str], **more: Any) -> Document:
    """The record of a new version. `kind` is Normal, Multipart or Appendable."""
    return {
        "id": "",
        "marker": False,
        "blob": content.blob,
        "size": content.size,
        "etag": content.etag,
        "md5": base64.b64encode(content.md5).decode(),
        "crc64": str(content.crc64),
        "type": kind,
        "modified": timestamp(),
        "headers": headers,
        "tags": {},
        "acl": "default",
        **more,
    }


def checked_key(key: str) -> None:
    """Refuses keys that OSS refuses.

    Raises:
        ApiError: the key is too long or begins with a slash.
    """
    if not 1 <= len(key.encode("utf-8", "surrogateescape")) <= LONGEST_KEY or key.startswith(("/", "\\")):
        raise ApiError(400, "InvalidObjectName", "The specified object is not valid.", ObjectName=key)


def timestamp() -> str:
    """The time now, in the form of OSS's documents."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _new_blob() -> str:
    name = uuid.uuid4().hex
    return f"{name[:2]}/{name}"


def _new_version_id() -> str:
    return "CAEQ" + uuid.uuid4().hex


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
