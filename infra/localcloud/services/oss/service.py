"""The OSS service: finds the operation, verifies, authorises, answers; errors as XML."""

from __future__ import annotations

import logging
import re
import time
from email.utils import formatdate
from typing import ClassVar

from infra.localcloud.credentials import load_credentials
from infra.localcloud.keys import AccessKeys
from infra.localcloud.service import ApiError, Cloud, Operation
from infra.localcloud.services.oss import xml
from infra.localcloud.services.oss.access import AccessControl
from infra.localcloud.services.oss.bucket import BucketOperations
from infra.localcloud.services.oss.call import OssCall
from infra.localcloud.services.oss.catalogue import Catalogue
from infra.localcloud.services.oss.configuration import ConfigurationOperations
from infra.localcloud.services.oss.listing import ListingOperations
from infra.localcloud.services.oss.multipart import MultipartOperations
from infra.localcloud.services.oss.operations import OPERATIONS, OssOperation, find_operation
from infra.localcloud.signing import Verifier
from infra.localcloud.signing.oss_address import OssAddress, parse_address
from infra.localcloud.wire import Request, Response, WireService

LOG = logging.getLogger(__name__)
_UNSUPPORTED_HEADERS = ("x-oss-callback", "x-oss-process", "x-oss-symlink-target", "x-oss-traffic-limit")


class OssService(BucketOperations, ConfigurationOperations, ListingOperations, MultipartOperations, WireService):
    """OSS, by virtual host and by path."""

    name: ClassVar[str] = "oss"
    versions: ClassVar[tuple[str, ...]] = ("2019-05-17",)
    hosts: ClassVar[tuple[str, ...]] = (r"([a-z0-9][a-z0-9.-]*\.)?oss-[a-z0-9-]+\.aliyuncs\.com",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self._created = time.time()
        self.catalogue = Catalogue(cloud.store, cloud.directory / "oss")
        self._access = AccessControl(self.catalogue, cloud.account_id)
        self._verifier = Verifier(AccessKeys(cloud.store, load_credentials(cloud.directory)))

    def start(self) -> None:
        """Removes what a crash left on disk."""
        if removed := self.catalogue.sweep(self._created):
            LOG.info("removed %d files that no object has", removed)

    @classmethod
    def operations(cls) -> list[Operation]:
        """The operations, sorted by name."""
        return sorted((each.described() for each in OPERATIONS), key=lambda each: each.name)

    def inventory(self) -> list[str]:
        """Buckets; what lies in them goes with them."""
        return [f"oss-bucket {name}" for name in sorted(self.catalogue.buckets.keys())]

    def describe(self, request: Request) -> str:
        """The operation's name, empty when there is none."""
        try:
            return self._operation(request, self._address(request)).name
        except ApiError:
            return ""

    def respond(self, request: Request) -> Response:
        """Answers one request.

        Raises:
            ApiError: in every refused case.
        """
        address = self._address(request)
        identity = self._verifier.verify_oss(request, address)
        operation = self._operation(request, address)
        region = address.region or self.cloud.region
        for name in _UNSUPPORTED_HEADERS:
            if name in request.headers:
                raise ApiError(400, "InvalidArgument", f"The local cloud does not support the header {name}.")
        if address.bucket and operation.name != "PutBucket":
            self._check_region(address)

        def permit(action: str, bucket: str, key: str) -> None:
            self._access.require(request, identity, action, bucket, key, region)

        if operation.name != "DeleteMultipleObjects":  # asks for every key
            permit(operation.action, address.bucket, address.key)
        call = OssCall(operation, request, address.bucket, address.key, region, dict(request.query), identity, permit)
        response: Response = getattr(self, _method_name(operation))(call)
        response.headers = {**_common_headers(request), **response.headers}
        return response

    def refuse(self, request: Request, error: ApiError) -> Response:
        """Renders an error as XML; answers to HEAD carry the code in a header."""
        content: dict[str, xml.Value] = {
            "Code": error.code,
            "Message": error.message,
            "RequestId": request.request_id,
            "HostId": request.host,
            **{name: str(value) for name, value in error.data.items() if name != "headers"},
        }
        headers = {"Content-Type": "application/xml", "x-oss-err-code": error.code, **error.data.get("headers", {})}
        body = b"" if error.status == 304 else xml.render("Error", content)
        return Response(error.status, {**_common_headers(request), **headers}, body)

    def _address(self, request: Request) -> OssAddress:
        try:
            return parse_address(request.host, request.raw_path)
        except ValueError as error:
            raise ApiError(400, "InvalidArgument", f"{error}.") from error

    @staticmethod
    def _operation(request: Request, address: OssAddress) -> OssOperation:
        return find_operation(request.method, address, dict(request.query), request.headers)

    def _check_region(self, address: OssAddress) -> None:
        located = self.catalogue.bucket(address.bucket)["region"]
        if address.region and address.region != located:
            raise ApiError(
                403,
                "AccessDenied",
                "The bucket you are attempting to access must be addressed using the specified endpoint.",
                Bucket=address.bucket,
                Endpoint=f"oss-{located}.aliyuncs.com",
            )


def _method_name(operation: OssOperation) -> str:
    return re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", operation.name.replace("V2", "_V2")).lower().replace("__", "_")


def _common_headers(request: Request) -> dict[str, str]:
    return {"Server": "AliyunOSS", "Date": formatdate(usegmt=True), "x-oss-request-id": request.request_id}
