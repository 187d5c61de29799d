"""Listings: objects (versions 1 and 2 of the call), versions, unfinished uploads."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from infra.localcloud.service import ApiError
from infra.localcloud.services.oss import xml
from infra.localcloud.services.oss.call import OssCall, document
from infra.localcloud.services.oss.parts import OssPart
from infra.localcloud.store import Document
from infra.localcloud.wire import Response

MOST_KEYS = 1000


@dataclass
class Page:
    """One page of a listing: rows and common prefixes together fill it."""

    rows: list[tuple[str, Document]] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next: str = ""  # the last entry shown when there is more, else empty


def page_of(entries: Iterable[tuple[str, Document]], prefix: str, delimiter: str, after: str, most: int) -> Page:
    """The entries (in key order) behind `after`, those with a common prefix up to `delimiter` rolled into one."""
    page, last = Page(), ""
    for key, value in entries:
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        shown = key[: cut + len(delimiter)] if cut >= 0 else key
        if shown <= after or (cut >= 0 and shown == last):
            continue
        if len(page.rows) + len(page.prefixes) == most:
            page.next = last
            break
        if cut >= 0:
            page.prefixes.append(shown)
        else:
            page.rows.append((key, value))
        last = shown
    return page


class ListingOperations(OssPart):
    """Everything that lists what a bucket holds."""

    def list_objects(self, call: OssCall) -> Response:
        """Lists objects by marker."""
        prefix, delimiter, name = _asked(call)
        most = call.number("max-keys", 100, MOST_KEYS)
        marker = call.query.get("marker", "")
        page = page_of(self.catalogue.current(call.bucket, prefix), prefix, delimiter, marker, most)
        return document(
            "ListBucketResult",
            {
                "Name": call.bucket,
                "Prefix": name(prefix),
                "Marker": name(marker),
                "MaxKeys": most,
                "Delimiter": name(delimiter),
                "EncodingType": call.query.get("encoding-type"),
                "IsTruncated": bool(page.next),
                "NextMarker": name(page.next) if page.next else None,
                "Contents": [self._object_row(name(key), version, owner=True) for key, version in page.rows],
                "CommonPrefixes": [{"Prefix": name(each)} for each in page.prefixes],
            },
        )

    def list_objects_v2(self, call: OssCall) -> Response:
        """Lists objects by continuation token."""
        if call.query.get("list-type") != "2":
            raise ApiError(400, "InvalidArgument", "list-type must be 2.")
        prefix, delimiter, name = _asked(call)
        most = call.number("max-keys", 100, MOST_KEYS)
        token, start = call.query.get("continuation-token", ""), call.query.get("start-after", "")
        after = _from_token(token) if token else start
        owner = call.query.get("fetch-owner", "").lower() == "true"
        page = page_of(self.catalogue.current(call.bucket, prefix), prefix, delimiter, after, most)
        return document(
            "ListBucketResult",
            {
                "Name": call.bucket,
                "Prefix": name(prefix),
                "StartAfter": name(start) if start else None,
                "MaxKeys": most,
                "Delimiter": name(delimiter),
                "EncodingType": call.query.get("encoding-type"),
                "ContinuationToken": token or None,
                "IsTruncated": bool(page.next),
                "NextContinuationToken": _to_token(page.next) if page.next else None,
                "KeyCount": len(page.rows) + len(page.prefixes),
                "Contents": [self._object_row(name(key), version, owner=owner) for key, version in page.rows],
                "CommonPrefixes": [{"Prefix": name(each)} for each in page.prefixes],
            },
        )

    def list_object_versions(self, call: OssCall) -> Response:
        """Lists every version and delete marker, newest first for each key."""
        prefix, delimiter, name = _asked(call)
        most = call.number("max-keys", 100, MOST_KEYS)
        key_marker, id_marker = call.query.get("key-marker", ""), call.query.get("version-id-marker", "")
        rows: list[tuple[str, Document]] = []
        prefixes: list[str] = []
        truncated, last = False, ("", "")
        for key, version in self._versions(call.bucket, prefix, key_marker, id_marker):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            rolled = key[: cut + len(delimiter)] if cut >= 0 else ""
            if rolled and (rolled in prefixes or rolled <= key_marker):
                continue
            if len(rows) + len(prefixes) == most:
                truncated = True
                break
            last = (rolled or key, "" if rolled else version["id"])
            if rolled:
                prefixes.append(rolled)
            else:
                rows.append((key, version))
        return document(
            "ListVersionsResult",
            {
                "Name": call.bucket,
                "Prefix": name(prefix),
                "KeyMarker": name(key_marker),
                "VersionIdMarker": id_marker,
                "MaxKeys": most,
                "Delimiter": name(delimiter),
                "EncodingType": call.query.get("encoding-type"),
                "IsTruncated": truncated,
                "NextKeyMarker": name(last[0]) if truncated else "",
                "NextVersionIdMarker": last[1] if truncated else "",
                "Version": [
                    {
                        **self._object_row(name(key), each, owner=True),
                        "VersionId": each["id"],
                        "IsLatest": each["latest"],
                    }
                    for key, each in rows
                    if not each["marker"]
                ],
                "DeleteMarker": [
                    {
                        "Key": name(key),
                        "VersionId": each["id"],
                        "IsLatest": each["latest"],
                        "LastModified": each["modified"],
                        "Owner": self.owner(),
                    }
                    for key, each in rows
                    if each["marker"]
                ],
                "CommonPrefixes": [{"Prefix": name(each)} for each in prefixes],
            },
        )

    def list_multipart_uploads(self, call: OssCall) -> Response:
        """Lists unfinished uploads by key and time."""
        prefix, delimiter, name = _asked(call)
        if delimiter:
            raise ApiError(400, "InvalidArgument", "The local cloud lists uploads without a delimiter only.")
        most = call.number("max-uploads", MOST_KEYS, MOST_KEYS)
        after = (call.query.get("key-marker", ""), call.query.get("upload-id-marker", ""))
        uploads = sorted((each["key"], each["id"], each) for each in self.catalogue.uploads(call.bucket).values())
        found = [
            each
            for key, upload_id, each in uploads
            if key.startswith(prefix) and ((key, upload_id) > after if after[1] else key > after[0] or not after[0])
        ]
        shown, cut = found[:most], len(found) > most
        return document(
            "ListMultipartUploadsResult",
            {
                "Bucket": call.bucket,
                "EncodingType": call.query.get("encoding-type"),
                "KeyMarker": name(after[0]),
                "UploadIdMarker": after[1],
                "NextKeyMarker": name(shown[-1]["key"]) if cut else "",
                "NextUploadIdMarker": shown[-1]["id"] if cut else "",
                "Prefix": name(prefix),
                "MaxUploads": most,
                "IsTruncated": cut,
                "Upload": [
                    {"Key": name(each["key"]), "UploadId": each["id"], "Initiated": each["initiated"]}
                    for each in shown
                ],
            },
        )

    def _versions(self, bucket: str, prefix: str, key_marker: str, id_marker: str) -> Iterator[tuple[str, Document]]:
        for key, record in self.catalogue.objects(bucket).items(prefix):
            versions = [{**each, "latest": index == 0} for index, each in enumerate(record["versions"])]
            if key < key_marker or (key == key_marker and not id_marker):
                continue
            if key == key_marker:
                ids = [each["id"] for each in versions]
                versions = versions[ids.index(id_marker) + 1 :] if id_marker in ids else []
            for each in versions:
                yield key, each

    def _object_row(self, key: str, version: Document, *, owner: bool) -> dict[str, xml.Value]:
        return {
            "Key": key,
            "LastModified": version["modified"],
            "ETag": f'"{version["etag"]}"',
            "Type": version["type"],
            "Size": version["size"],
            "StorageClass": "Standard",
            "Owner": self.owner() if owner else None,
        }


class _Name:
    """Writes keys as the caller wants them: percent-encoded or plain."""

    def __init__(self, *, encoded: bool) -> None:
        self._encoded = encoded

    def __call__(self, text: str) -> str:
        return quote(text, safe="~") if self._encoded else text


def _asked(call: OssCall) -> tuple[str, str, _Name]:
    encoding = call.query.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise ApiError(400, "InvalidArgument", "encoding-type must be url.")
    return call.query.get("prefix", ""), call.query.get("delimiter", ""), _Name(encoded=encoding == "url")


def _to_token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _from_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ApiError(400, "InvalidArgument", "The continuation-token is not one that was returned.") from error
