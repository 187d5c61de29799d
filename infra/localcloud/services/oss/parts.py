"""What the parts of the OSS service share."""

from __future__ import annotations

from typing import ClassVar

from infra.localcloud.service import Cloud
from infra.localcloud.services.oss import xml
from infra.localcloud.services.oss.catalogue import Catalogue
from infra.localcloud.store import Document


class OssPart:
    """Base of the parts; the service sets `cloud` and `catalogue`."""

    cloud: Cloud
    catalogue: Catalogue
    resource_group: ClassVar[str] = "rg-acfmxlocalcloud"

    def owner(self) -> xml.Value:
        """The account as the owner of buckets and objects."""
        return {"ID": self.cloud.account_id, "DisplayName": self.cloud.account_id}

    def encryption_headers(self, bucket: Document) -> dict[str, str]:
        """What an object's answers say about its encryption."""
        rule = bucket.get("encryption")
        if not rule:
            return {}
        headers = {"x-oss-server-side-encryption": rule["SSEAlgorithm"]}
        if rule.get("KMSMasterKeyID"):
            headers["x-oss-server-side-encryption-key-id"] = rule["KMSMasterKeyID"]
        return headers
