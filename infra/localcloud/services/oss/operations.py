"""Which operation of OSS a request asks for: by method, by what it addresses, and by its sub-resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from infra.localcloud.service import ApiError, Operation
from infra.localcloud.signing.oss_address import OssAddress

Level = Literal["service", "bucket", "object"]

SIGNATURE_PARAMETERS = frozenset(
    {
        "Expires",
        "OSSAccessKeyId",
        "Signature",
        "security-token",
        "x-oss-additional-headers",
        "x-oss-credential",
        "x-oss-date",
        "x-oss-expires",
        "x-oss-security-token",
        "x-oss-signature",
        "x-oss-signature-version",
    }
)
_LISTING = ("prefix", "delimiter", "marker", "max-keys", "encoding-type")
_OVERRIDES = tuple(
    f"response-{name}"
    for name in (
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    )
)


@dataclass(frozen=True)
class OssOperation:
    """One operation. `action` is what RAM policies call it."""

    name: str
    level: Level
    method: str
    subresource: str = ""
    parameters: tuple[str, ...] = ()
    action: str = ""
    note: str = ""
    copies: bool = False  # told from its twin by the header x-oss-copy-source
    known: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", frozenset({self.subresource, *self.parameters}) - {""})
        object.__setattr__(self, "action", f"oss:{self.action or self.name}")

    def described(self) -> Operation:
        """The operation for the coverage table."""
        path = {"service": "/", "bucket": "/{Bucket}", "object": "/{Bucket}/{Key}"}[self.level]
        query = f"?{self.subresource}" if self.subresource else ""
        return Operation(
            self.name, optional=tuple(sorted(self.parameters)), method=self.method, path=path + query, note=self.note
        )


def _configuration(
    subresource: str, suffix: str, methods: str = "GET PUT DELETE", note: str = ""
) -> list[OssOperation]:
    verbs = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}
    return [OssOperation(verbs[m] + suffix, "bucket", m, subresource, note=note) for m in methods.split()]


_KEPT = "kept, not carried out"

OPERATIONS: tuple[OssOperation, ...] = (
    OssOperation(
        "ListBuckets", "service", "GET", parameters=("prefix", "marker", "max-keys", "tag-key", "tag-value")
    ),
    OssOperation("PutBucket", "bucket", "PUT"),
    OssOperation("DeleteBucket", "bucket", "DELETE"),
    OssOperation("HeadBucket", "bucket", "HEAD", action="GetBucketInfo"),
    OssOperation("ListObjects", "bucket", "GET", parameters=_LISTING),
    OssOperation(
        "ListObjectsV2",
        "bucket",
        "GET",
        "list-type",
        parameters=(
            "prefix",
            "delimiter",
            "start-after",
            "continuation-token",
            "max-keys",
            "encoding-type",
            "fetch-owner",
        ),
        action="ListObjects",
    ),
    OssOperation(
        "ListObjectVersions",
        "bucket",
        "GET",
        "versions",
        parameters=("prefix", "delimiter", "key-marker", "version-id-marker", "max-keys", "encoding-type"),
    ),
    OssOperation(
        "ListMultipartUploads",
        "bucket",
        "GET",
        "uploads",
        parameters=("prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"),
        note="one page; no delimiter",
    ),
    OssOperation(
        "DeleteMultipleObjects", "bucket", "POST", "delete", parameters=("encoding-type",), action="DeleteObject"
    ),
    OssOperation("GetBucketInfo", "bucket", "GET", "bucketInfo"),
    OssOperation("GetBucketLocation", "bucket", "GET", "location"),
    OssOperation("GetBucketStat", "bucket", "GET", "stat"),
    *_configuration("acl", "BucketAcl", "GET PUT"),
    *_configuration("versioning", "BucketVersioning", "GET PUT"),
    *_configuration(
        "encryption", "BucketEncryption", note="reported with every object; files on disk stay as they are"
    ),
    *_configuration("publicAccessBlock", "BucketPublicAccessBlock"),
    *_configuration("policy", "BucketPolicy"),
    *_configuration("tagging", "BucketTagging"),
    *_configuration("lifecycle", "BucketLifecycle", note=_KEPT),
    *_configuration("cors", "BucketCors", note=_KEPT),
    *_configuration("website", "BucketWebsite", note=_KEPT),
    *_configuration("logging", "BucketLogging", note=_KEPT),
    *_configuration("referer", "BucketReferer", "GET PUT", note=_KEPT),
    *_configuration("transferAcceleration", "BucketTransferAcceleration", "GET", note="never enabled"),
    *_configuration("requestPayment", "BucketRequestPayment", "GET", note="the owner pays"),
    *_configuration("resourceGroup", "BucketResourceGroup", "GET", note="the default group"),
    *_configuration("accessmonitor", "BucketAccessMonitor", "GET", note="never enabled"),
    OssOperation("PutObject", "object", "PUT"),
    OssOperation("CopyObject", "object", "PUT", action="PutObject", copies=True),
    OssOperation("GetObject", "object", "GET", parameters=("versionId", *_OVERRIDES)),
    OssOperation("HeadObject", "object", "HEAD", parameters=("versionId",), action="GetObject"),
    OssOperation("GetObjectMeta", "object", "HEAD", "objectMeta", parameters=("versionId",), action="GetObject"),
    OssOperation("DeleteObject", "object", "DELETE", parameters=("versionId",)),
    OssOperation("AppendObject", "object", "POST", "append", parameters=("position",), action="PutObject"),
    OssOperation(
        "InitiateMultipartUpload",
        "object",
        "POST",
        "uploads",
        parameters=("encoding-type", "sequential"),
        action="PutObject",
    ),
    OssOperation("UploadPart", "object", "PUT", "uploadId", parameters=("partNumber",), action="PutObject"),
    OssOperation(
        "UploadPartCopy", "object", "PUT", "uploadId", parameters=("partNumber",), action="PutObject", copies=True
    ),
    OssOperation(
        "CompleteMultipartUpload", "object", "POST", "uploadId", parameters=("encoding-type",), action="PutObject"
    ),
    OssOperation("AbortMultipartUpload", "object", "DELETE", "uploadId"),
    OssOperation(
        "ListParts",
        "object",
        "GET",
        "uploadId",
        parameters=("max-parts", "part-number-marker", "encoding-type"),
    ),
    OssOperation("GetObjectTagging", "object", "GET", "tagging", parameters=("versionId",)),
    OssOperation("PutObjectTagging", "object", "PUT", "tagging", parameters=("versionId",)),
    OssOperation("DeleteObjectTagging", "object", "DELETE", "tagging", parameters=("versionId",)),
    OssOperation("GetObjectAcl", "object", "GET", "acl", parameters=("versionId",)),
    OssOperation("PutObjectAcl", "object", "PUT", "acl", parameters=("versionId",)),
)
_SUBRESOURCES = {
    level: {o.subresource for o in OPERATIONS if o.level == level} - {""} for level in ("service", "bucket", "object")
}


def find_operation(
    method: str, address: OssAddress, query: Mapping[str, str], headers: Mapping[str, str]
) -> OssOperation:
    """The operation of a request.

    Raises:
        ApiError: there is no such operation, or it doesn't know one of the query parameters.
    """
    level: Level = "object" if address.key else "bucket" if address.bucket else "service"
    asked = [name for name in query if name in _SUBRESOURCES[level]]
    if level == "object" and "partNumber" in query and "uploadId" not in query:
        raise ApiError(400, "InvalidArgument", "partNumber needs uploadId.")
    if len(asked) > 1:
        raise ApiError(400, "InvalidArgument", f"The sub-resources {' and '.join(asked)} exclude each other.")
    subresource = asked[0] if asked else ""
    copies = "x-oss-copy-source" in headers
    candidates = [o for o in OPERATIONS if (o.level, o.method, o.subresource) == (level, method, subresource)]
    chosen = next((o for o in candidates if o.copies == copies), None)
    parameters = [name for name in query if name not in SIGNATURE_PARAMETERS]
    if chosen is None:
        unknown = next((name for name in parameters if name not in _SUBRESOURCES[level]), "")
        if unknown:
            raise ApiError(400, "InvalidArgument", f"The local cloud does not know the sub-resource {unknown}.")
        raise ApiError(405, "MethodNotAllowed", f"The method {method} is not allowed on this {level}: {subresource}.")
    for name in parameters:
        if name not in chosen.known:
            raise ApiError(
                400, "InvalidArgument", f"The local cloud does not know the sub-resource or parameter {name} here."
            )
    return chosen
