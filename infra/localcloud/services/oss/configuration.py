"""Operations on the configuration of buckets: one sub-resource each."""

from __future__ import annotations

from infra.localcloud.policy import PolicyError, parse_policy
from infra.localcloud.service import ApiError
from infra.localcloud.services.oss import xml
from infra.localcloud.services.oss.access import ACLS, is_public
from infra.localcloud.services.oss.call import OssCall, document, empty
from infra.localcloud.services.oss.parts import OssPart
from infra.localcloud.store import Document
from infra.localcloud.wire import Response

ALGORITHMS = ("AES256", "KMS", "SM4")
MOST_TAGS = 20


class ConfigurationOperations(OssPart):
    """Read, write and delete configuration."""

    def _set(self, call: OssCall, **values: object) -> Response:
        with self.catalogue.store.transaction():
            bucket = self.catalogue.bucket(call.bucket)
            bucket.update(values)
            self.catalogue.buckets.put(call.bucket, bucket)
        return empty()

    def _unset(self, call: OssCall, name: str) -> Response:
        with self.catalogue.store.transaction():
            bucket = self.catalogue.bucket(call.bucket)
            bucket.pop(name, None)
            self.catalogue.buckets.put(call.bucket, bucket)
        return empty(204)

    # Access

    def get_bucket_acl(self, call: OssCall) -> Response:
        """The ACL."""
        grant = self.catalogue.bucket(call.bucket)["acl"]
        return document("AccessControlPolicy", {"Owner": self.owner(), "AccessControlList": {"Grant": grant}})

    def put_bucket_acl(self, call: OssCall) -> Response:
        """Sets the ACL; a public one only where public access isn't blocked."""
        acl = call.header("x-oss-acl")
        if acl not in ACLS:
            raise ApiError(400, "InvalidArgument", f"x-oss-acl must be one of {', '.join(ACLS)}, not {acl!r}.")
        if acl != "private" and self.catalogue.bucket(call.bucket)["blockPublicAccess"]:
            raise ApiError(
                403, "AccessDenied", "Put public bucket acl is not allowed: the bucket blocks public access."
            )
        return self._set(call, acl=acl)

    def get_bucket_public_access_block(self, call: OssCall) -> Response:
        """Whether public access is blocked."""
        blocked = self.catalogue.bucket(call.bucket)["blockPublicAccess"]
        return document("PublicAccessBlockConfiguration", {"BlockPublicAccess": blocked})

    def put_bucket_public_access_block(self, call: OssCall) -> Response:
        """Blocks public access or allows it."""
        text = xml.text_of(call.xml("PublicAccessBlockConfiguration"), "BlockPublicAccess").lower()
        if text not in ("true", "false"):
            raise ApiError(400, "MalformedXML", "BlockPublicAccess must be true or false.")
        return self._set(call, blockPublicAccess=text == "true")

    def delete_bucket_public_access_block(self, call: OssCall) -> Response:
        """Allows public access."""
        self._set(call, blockPublicAccess=False)
        return empty(204)

    def get_bucket_policy(self, call: OssCall) -> Response:
        """The policy, as it was put."""
        policy = self.catalogue.bucket(call.bucket).get("policy")
        if policy is None:
            raise ApiError(404, "NoSuchBucketPolicy", "The bucket policy does not exist.", BucketName=call.bucket)
        return Response(200, {"Content-Type": "application/json"}, policy.encode())

    def put_bucket_policy(self, call: OssCall) -> Response:
        """Sets the policy; one for everybody only where public access isn't blocked."""
        try:
            text = call.document().decode()
            statements = parse_policy(text, bucket=True)
        except (PolicyError, UnicodeDecodeError) as error:
            raise ApiError(400, "InvalidPolicyDocument", f"The policy is not acceptable: {error}.") from error
        if is_public(statements) and self.catalogue.bucket(call.bucket)["blockPublicAccess"]:
            raise ApiError(403, "AccessDenied", "Put public bucket policy is not allowed: public access is blocked.")
        return self._set(call, policy=text)

    def delete_bucket_policy(self, call: OssCall) -> Response:
        """Removes the policy."""
        return self._unset(call, "policy")

    # What happens to objects

    def get_bucket_versioning(self, call: OssCall) -> Response:
        """Enabled, Suspended, or nothing."""
        return document(
            "VersioningConfiguration", {"Status": self.catalogue.bucket(call.bucket).get("versioning") or None}
        )

    def put_bucket_versioning(self, call: OssCall) -> Response:
        """Enables or suspends versioning."""
        status = xml.text_of(call.xml("VersioningConfiguration"), "Status")
        if status not in ("Enabled", "Suspended"):
            raise ApiError(400, "MalformedXML", "Status must be Enabled or Suspended.")
        return self._set(call, versioning=status)

    def get_bucket_encryption(self, call: OssCall) -> Response:
        """The rule for new objects."""
        rule = self.catalogue.bucket(call.bucket).get("encryption")
        if rule is None:
            raise ApiError(
                404,
                "NoSuchServerSideEncryptionRule",
                "The server side encryption configuration does not exist.",
                BucketName=call.bucket,
            )
        return document("ServerSideEncryptionRule", {"ApplyServerSideEncryptionByDefault": rule})

    def put_bucket_encryption(self, call: OssCall) -> Response:
        """Sets the rule for new objects."""
        default = call.xml("ServerSideEncryptionRule").find("ApplyServerSideEncryptionByDefault")
        if default is None:
            raise ApiError(400, "MalformedXML", "ApplyServerSideEncryptionByDefault is missing.")
        algorithm = xml.text_of(default, "SSEAlgorithm")
        if algorithm not in ALGORITHMS:
            raise ApiError(
                400, "InvalidEncryptionAlgorithmError", f"SSEAlgorithm must be one of {', '.join(ALGORITHMS)}."
            )
        names = ("SSEAlgorithm", "KMSMasterKeyID", "KMSDataEncryption")
        return self._set(call, encryption={name: text for name in names if (text := xml.text_of(default, name))})

    def delete_bucket_encryption(self, call: OssCall) -> Response:
        """Removes the rule."""
        return self._unset(call, "encryption")

    # Tags

    def get_bucket_tagging(self, call: OssCall) -> Response:
        """The tags."""
        return tag_document(self.catalogue.bucket(call.bucket).get("tags", {}))

    def put_bucket_tagging(self, call: OssCall) -> Response:
        """Replaces the tags."""
        return self._set(call, tags=read_tags(call))

    def delete_bucket_tagging(self, call: OssCall) -> Response:
        """Removes the tags."""
        return self._unset(call, "tags")

    # Documents that are kept as they come

    def _kept(self, call: OssCall, missing_code: str) -> Response:
        text = self.catalogue.bucket(call.bucket).get("documents", {}).get(call.operation.subresource)
        if text is None:
            raise ApiError(404, missing_code, "The specified configuration does not exist.", BucketName=call.bucket)
        return Response(200, {"Content-Type": "application/xml"}, text.encode())

    def _keep(self, call: OssCall, root: str) -> Response:
        call.xml(root)
        documents = {**self._documents(call), call.operation.subresource: call.document().decode()}
        return self._set(call, documents=documents)

    def _forget(self, call: OssCall) -> Response:
        documents = {k: v for k, v in self._documents(call).items() if k != call.operation.subresource}
        self._set(call, documents=documents)
        return empty(204)

    def _documents(self, call: OssCall) -> Document:
        found: Document = self.catalogue.bucket(call.bucket).get("documents", {})
        return found

    def get_bucket_lifecycle(self, call: OssCall) -> Response:
        """The lifecycle rules."""
        return self._kept(call, "NoSuchLifecycle")

    def put_bucket_lifecycle(self, call: OssCall) -> Response:
        """Keeps lifecycle rules."""
        return self._keep(call, "LifecycleConfiguration")

    def delete_bucket_lifecycle(self, call: OssCall) -> Response:
        """Removes the lifecycle rules."""
        return self._forget(call)

    def get_bucket_cors(self, call: OssCall) -> Response:
        """The CORS rules."""
        return self._kept(call, "NoSuchCORSConfiguration")

    def put_bucket_cors(self, call: OssCall) -> Response:
        """Keeps CORS rules."""
        return self._keep(call, "CORSConfiguration")

    def delete_bucket_cors(self, call: OssCall) -> Response:
        """Removes the CORS rules."""
        return self._forget(call)

    def get_bucket_website(self, call: OssCall) -> Response:
        """The website configuration."""
        return self._kept(call, "NoSuchWebsiteConfiguration")

    def put_bucket_website(self, call: OssCall) -> Response:
        """Keeps a website configuration."""
        return self._keep(call, "WebsiteConfiguration")

    def delete_bucket_website(self, call: OssCall) -> Response:
        """Removes the website configuration."""
        return self._forget(call)

    def get_bucket_logging(self, call: OssCall) -> Response:
        """The logging configuration, an empty one when there is none."""
        if call.operation.subresource in self._documents(call):
            return self._kept(call, "")
        return document("BucketLoggingStatus", {})

    def put_bucket_logging(self, call: OssCall) -> Response:
        """Keeps a logging configuration."""
        return self._keep(call, "BucketLoggingStatus")

    def delete_bucket_logging(self, call: OssCall) -> Response:
        """Removes the logging configuration."""
        return self._forget(call)

    def get_bucket_referer(self, call: OssCall) -> Response:
        """The referer configuration; without one every referer is welcome."""
        if call.operation.subresource in self._documents(call):
            return self._kept(call, "")
        return document("RefererConfiguration", {"AllowEmptyReferer": True, "RefererList": ""})

    def put_bucket_referer(self, call: OssCall) -> Response:
        """Keeps a referer configuration."""
        return self._keep(call, "RefererConfiguration")

    # What is never set

    def get_bucket_transfer_acceleration(self, call: OssCall) -> Response:
        """Says that transfer acceleration was never enabled."""
        return self._kept(call, "NoSuchTransferAccelerationConfiguration")

    def get_bucket_request_payment(self, _call: OssCall) -> Response:
        """Says that the owner pays."""
        return document("RequestPaymentConfiguration", {"Payer": "BucketOwner"})

    def get_bucket_resource_group(self, _call: OssCall) -> Response:
        """The default resource group."""
        return document("BucketResourceGroupConfiguration", {"ResourceGroupId": self.resource_group})

    def get_bucket_access_monitor(self, _call: OssCall) -> Response:
        """Says that accesses aren't tracked."""
        return document("AccessMonitorConfiguration", {"Status": "Disabled"})


def read_tags(call: OssCall) -> dict[str, str]:
    """The tags of a call's ``Tagging`` document.

    Raises:
        ApiError: a key is missing or doubled, or there are too many.
    """
    rows = call.xml("Tagging").findall("TagSet/Tag")
    found = {xml.text_of(row, "Key"): xml.text_of(row, "Value") for row in rows}
    if "" in found or len(found) != len(rows) or len(found) > MOST_TAGS:
        raise ApiError(400, "InvalidTag", f"At most {MOST_TAGS} tags, each with a key of its own, are allowed.")
    return found


def tag_document(tags: Document) -> Response:
    """The ``Tagging`` document of tags."""
    rows: list[xml.Value] = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
    return document("Tagging", {"TagSet": {"Tag": rows}})
