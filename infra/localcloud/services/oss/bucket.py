"""Operations on buckets as such."""

from __future__ import annotations

from infra.localcloud.service import ApiError
from infra.localcloud.services.oss import xml
from infra.localcloud.services.oss.access import ACLS
from infra.localcloud.services.oss.call import OssCall, document, empty
from infra.localcloud.services.oss.catalogue import timestamp
from infra.localcloud.services.oss.parts import OssPart
from infra.localcloud.store import Document
from infra.localcloud.wire import Response

STORAGE_CLASSES = ("Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive")
REDUNDANCY = ("LRS", "ZRS")
MOST_BUCKETS = 100


class BucketOperations(OssPart):
    """Create, describe, list and delete buckets."""

    def list_buckets(self, call: OssCall) -> Response:
        """Lists buckets in the order of their names."""
        prefix, marker = call.query.get("prefix", ""), call.query.get("marker", "")
        most = call.number("max-keys", 100, 1000)
        names = [name for name in self.catalogue.buckets.keys(prefix) if name > marker]
        shown = names[:most]
        rows: list[xml.Value] = [self._bucket_row(self.catalogue.bucket(name)) for name in shown]
        cut = len(names) > len(shown)
        return document(
            "ListAllMyBucketsResult",
            {
                "Prefix": prefix,
                "Marker": marker,
                "MaxKeys": most,
                "IsTruncated": cut,
                "NextMarker": shown[-1] if cut else None,
                "Owner": self.owner(),
                "Buckets": {"Bucket": rows},
            },
        )

    def put_bucket(self, call: OssCall) -> Response:
        """Creates a bucket; on one's own bucket it changes the ACL, as the vendor does."""
        configuration = call.xml("CreateBucketConfiguration") if call.request.body.size else None
        storage_class = (
            "Standard" if configuration is None else xml.text_of(configuration, "StorageClass") or "Standard"
        )
        redundancy = "LRS" if configuration is None else xml.text_of(configuration, "DataRedundancyType") or "LRS"
        acl = call.header("x-oss-acl") or "private"
        for value, allowed, name in (
            (acl, ACLS, "x-oss-acl"),
            (storage_class, STORAGE_CLASSES, "StorageClass"),
            (redundancy, REDUNDANCY, "DataRedundancyType"),
        ):
            if value not in allowed:
                raise ApiError(400, "InvalidArgument", f"{name} must be one of {', '.join(allowed)}, not {value}.")
        if acl != "private":
            raise ApiError(
                403, "AccessDenied", "Put public bucket acl is not allowed: new buckets block public access."
            )
        with self.catalogue.store.transaction():
            known = self.catalogue.buckets.get(call.bucket)
            if known is not None and known["region"] != call.region:
                raise ApiError(409, "BucketAlreadyExists", "The requested bucket name exists in another region.")
            if known is None and len(self.catalogue.buckets.keys()) >= MOST_BUCKETS:
                raise ApiError(400, "TooManyBuckets", f"An account has at most {MOST_BUCKETS} buckets.")
            self.catalogue.create_bucket(
                call.bucket,
                {
                    "name": call.bucket,
                    "region": call.region,
                    "created": timestamp(),
                    "acl": acl,
                    "storageClass": storage_class,
                    "redundancy": redundancy,
                    # The vendor blocks public access of new buckets.
                    "blockPublicAccess": True,
                },
            )
        return empty(headers={"Location": f"/{call.bucket}"})

    def delete_bucket(self, call: OssCall) -> Response:
        """Deletes an empty bucket."""
        self.catalogue.delete_bucket(call.bucket)
        return empty(204)

    def head_bucket(self, call: OssCall) -> Response:
        """Tells that a bucket is there."""
        return empty(headers={"x-oss-bucket-region": f"oss-{self.catalogue.bucket(call.bucket)['region']}"})

    def get_bucket_location(self, call: OssCall) -> Response:
        """The region that a bucket lies in."""
        return document("LocationConstraint", f"oss-{self.catalogue.bucket(call.bucket)['region']}")

    def get_bucket_stat(self, call: OssCall) -> Response:
        """How many objects there are, and their bytes."""
        sizes = [version["size"] for _, version in self.catalogue.current(call.bucket)]
        return document(
            "BucketStat",
            {
                "Storage": sum(sizes),
                "ObjectCount": len(sizes),
                "MultipartUploadCount": len(self.catalogue.uploads(call.bucket).keys()),
            },
        )

    def get_bucket_info(self, call: OssCall) -> Response:
        """Describes a bucket."""
        bucket = self.catalogue.bucket(call.bucket)
        algorithm = bucket.get("encryption", {}).get("SSEAlgorithm", "None")
        rule: dict[str, xml.Value] = {"SSEAlgorithm": algorithm}
        if key_id := bucket.get("encryption", {}).get("KMSMasterKeyID"):
            rule["KMSMasterKeyID"] = key_id
        info: dict[str, xml.Value] = {
            **self._bucket_row(bucket),
            "DataRedundancyType": bucket["redundancy"],
            "Owner": self.owner(),
            "AccessControlList": {"Grant": bucket["acl"]},
            "ServerSideEncryptionRule": rule,
            "Versioning": bucket.get("versioning") or None,
            "AccessMonitor": "Disabled",
            "BlockPublicAccess": bucket["blockPublicAccess"],
            "BucketPolicy": {"LogBucket": "", "LogPrefix": ""},
            "Comment": "",
            "CrossRegionReplication": "Disabled",
            "ResourceGroupId": self.resource_group,
            "TransferAcceleration": "Disabled",
        }
        return document("BucketInfo", {"Bucket": info})

    @staticmethod
    def _bucket_row(bucket: Document) -> dict[str, xml.Value]:
        region = bucket["region"]
        return {
            "Name": bucket["name"],
            "Location": f"oss-{region}",
            "Region": region,
            "CreationDate": bucket["created"],
            "StorageClass": bucket["storageClass"],
            "ExtranetEndpoint": f"oss-{region}.aliyuncs.com",
            "IntranetEndpoint": f"oss-{region}-internal.aliyuncs.com",
        }
