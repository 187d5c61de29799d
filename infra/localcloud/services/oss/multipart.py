"""Multipart uploads: parts in files of their own, joined when the upload is completed."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from urllib.parse import quote

from infra.localcloud.service import ApiError
from infra.localcloud.services.oss import xml
from infra.localcloud.services.oss.call import OssCall, document, empty
from infra.localcloud.services.oss.catalogue import Content, checked_key, new_version, timestamp
from infra.localcloud.services.oss.object import ObjectOperations, object_attributes, object_headers
from infra.localcloud.store import Document
from infra.localcloud.wire import CHUNK, Response

MOST_PARTS = 10_000
SMALLEST_PART = 100 << 10  # bytes; the last part may be smaller
LARGEST_PART = 5 << 30  # bytes


class MultipartOperations(ObjectOperations):
    """Initiate, upload parts, list them, complete or abort."""

    def initiate_multipart_upload(self, call: OssCall) -> Response:
        """Begins an upload."""
        self.catalogue.bucket(call.bucket)
        checked_key(call.key)
        upload_id = uuid.uuid4().hex.upper()
        self.catalogue.uploads(call.bucket).put(
            upload_id,
            {
                "id": upload_id,
                "key": call.key,
                "initiated": timestamp(),
                "headers": object_headers(call),
                "attributes": object_attributes(call),
                "parts": {},
            },
        )
        body: dict[str, xml.Value] = {"Bucket": call.bucket, "Key": _name(call, call.key), "UploadId": upload_id}
        return document("InitiateMultipartUploadResult", body)

    def upload_part(self, call: OssCall) -> Response:
        """Stores a part, or replaces it."""
        number = self._checked_number(call)
        self._upload(call)
        if call.request.body.size > LARGEST_PART:
            raise ApiError(400, "EntityTooLarge", f"A part has at most {LARGEST_PART} bytes.")
        content = self.kept_body(call)
        self._add(call, number, content)
        return empty(headers={"ETag": f'"{content.etag}"', "x-oss-hash-crc64ecma": str(content.crc64)})

    def upload_part_copy(self, call: OssCall) -> Response:
        """Stores a part that is copied from an object, or from a range of it."""
        number = self._checked_number(call)
        self._upload(call)
        _, _, source = self.copy_source(call)
        content = self.catalogue.write(self._source_chunks(call, source))
        self._add(call, number, content)
        return document("CopyPartResult", {"ETag": f'"{content.etag}"', "LastModified": timestamp()})

    def list_parts(self, call: OssCall) -> Response:
        """Lists an upload's parts."""
        upload = self._upload(call)
        most = call.number("max-parts", 1000, 1000)
        marker = call.number("part-number-marker", 0, MOST_PARTS, least=0)
        numbers = sorted(int(number) for number in upload["parts"] if int(number) > marker)
        shown, cut = numbers[:most], len(numbers) > most
        parts = {number: upload["parts"][str(number)] for number in shown}
        return document(
            "ListPartsResult",
            {
                "Bucket": call.bucket,
                "Key": _name(call, call.key),
                "UploadId": upload["id"],
                "EncodingType": call.query.get("encoding-type"),
                "StorageClass": "Standard",
                "PartNumberMarker": marker,
                "NextPartNumberMarker": shown[-1] if shown else marker,
                "MaxParts": most,
                "IsTruncated": cut,
                "Part": [
                    {
                        "PartNumber": number,
                        "LastModified": part["modified"],
                        "ETag": f'"{part["etag"]}"',
                        "HashCrc64ecma": part["crc64"],
                        "Size": part["size"],
                    }
                    for number, part in parts.items()
                ],
            },
        )

    def complete_multipart_upload(self, call: OssCall) -> Response:
        """Joins the parts into the object."""
        upload = self._upload(call)
        chosen = self._chosen_parts(call, upload)
        content = self.catalogue.join([part["blob"] for part in chosen])
        version = new_version(content, "Multipart", upload["headers"], **upload["attributes"])
        digests = b"".join(bytes.fromhex(part["etag"]) for part in chosen)
        etag = hashlib.md5(digests, usedforsecurity=False).hexdigest().upper()
        version["etag"] = f"{etag}-{len(chosen)}"
        version_id = self._put(call, version)
        self._forget_upload(call, upload)
        body: dict[str, xml.Value] = {
            "EncodingType": call.query.get("encoding-type"),
            "Location": f"http://{call.bucket}.oss-{call.region}.aliyuncs.com/{quote(call.key)}",
            "Bucket": call.bucket,
            "Key": _name(call, call.key),
            "ETag": f'"{version["etag"]}"',
        }
        return document("CompleteMultipartUploadResult", body, self._written(call, version, version_id))

    def abort_multipart_upload(self, call: OssCall) -> Response:
        """Gives an upload up and removes its parts."""
        self._forget_upload(call, self._upload(call))
        return empty(204)

    def _upload(self, call: OssCall) -> Document:
        found = self.catalogue.uploads(call.bucket).get(call.query["uploadId"])
        if found is None or found["key"] != call.key:
            raise ApiError(
                404,
                "NoSuchUpload",
                "The specified upload does not exist. It may be aborted or completed.",
                UploadId=call.query["uploadId"],
            )
        return found

    @staticmethod
    def _checked_number(call: OssCall) -> int:
        if "partNumber" not in call.query:
            raise ApiError(400, "InvalidArgument", "partNumber is missing.")
        return call.number("partNumber", 0, MOST_PARTS)

    def _add(self, call: OssCall, number: int, content: Content) -> None:
        stale: list[str] = []

        def change(upload: Document) -> None:
            if known := upload["parts"].get(str(number)):
                stale.append(known["blob"])
            upload["parts"][str(number)] = {
                "blob": content.blob,
                "size": content.size,
                "etag": content.etag,
                "crc64": str(content.crc64),
                "modified": timestamp(),
            }

        try:
            self.catalogue.uploads(call.bucket).update(call.query["uploadId"], change)
        except KeyError as error:
            self.catalogue.remove([content.blob])
            raise ApiError(404, "NoSuchUpload", "The upload was aborted or completed meanwhile.") from error
        self.catalogue.remove(stale)

    def _source_chunks(self, call: OssCall, source: Document) -> Iterator[bytes]:
        first, last = 0, source["size"] - 1
        if header := call.header("x-oss-copy-source-range"):
            begin, _, end = header.removeprefix("bytes=").partition("-")
            if not begin.isdigit() or (end and not end.isdigit()) or int(begin) > last:
                raise ApiError(400, "InvalidRange", f"x-oss-copy-source-range {header} does not fit the source.")
            first, last = int(begin), min(int(end or last), last)
        with self.catalogue.path(source["blob"]).open("rb") as file:
            file.seek(first)
            left = last - first + 1
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk

    def _chosen_parts(self, call: OssCall, upload: Document) -> list[Document]:
        """The parts in the order of the request, checked as the vendor checks them."""
        if call.header("x-oss-complete-all").lower() == "yes":
            rows = [(int(number), part["etag"]) for number, part in upload["parts"].items()]
            rows.sort()
        else:
            root = call.xml("CompleteMultipartUpload")
            rows = [
                (int(xml.text_of(each, "PartNumber") or 0), xml.text_of(each, "ETag").strip('"').upper())
                for each in root.findall("Part")
            ]
        if not rows:
            raise ApiError(400, "MalformedXML", "An upload needs at least one part.")
        numbers = [number for number, _ in rows]
        if numbers != sorted(set(numbers)):
            raise ApiError(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
        chosen: list[Document] = []
        for number, etag in rows:
            part = upload["parts"].get(str(number))
            if part is None or part["etag"] != etag:
                raise ApiError(
                    400, "InvalidPart", "One or more of the specified parts could not be found.", PartNumber=number
                )
            chosen.append(part)
        for number, part in zip(numbers[:-1], chosen[:-1], strict=True):
            if part["size"] < SMALLEST_PART:
                raise ApiError(400, "EntityTooSmall", f"Part {number} is smaller than {SMALLEST_PART} bytes.")
        return chosen

    def _forget_upload(self, call: OssCall, upload: Document) -> None:
        self.catalogue.uploads(call.bucket).delete(upload["id"])
        self.catalogue.remove([part["blob"] for part in upload["parts"].values()])


def _name(call: OssCall, key: str) -> str:
    return quote(key, safe="~") if call.query.get("encoding-type") == "url" else key
