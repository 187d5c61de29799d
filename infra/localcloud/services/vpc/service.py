"""The VPC service: what its parts make together, with regions, zones and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.vpc.conventions import MOST_TAGS, TAGS, api, boolean, page, tagged, tags
from infra.localcloud.services.vpc.eip import Addresses
from infra.localcloud.services.vpc.zones import zone_ids
from infra.localcloud.store import Collection

_KINDS = {"VPC": "vpc.vpc", "VSWITCH": "vpc.vswitch", "EIP": "vpc.eip"}


class VpcService(Addresses):
    """VPC 2016-04-28: networks, vSwitches, public addresses."""

    name: ClassVar[str] = "vpc"
    versions: ClassVar[tuple[str, ...]] = ("2016-04-28",)
    kinds: ClassVar[Mapping[str, str]] = {"VSwitchId": "vswitch", "VpcId": "vpc", "AllocationId": "eip"}
    hosts: ClassVar[tuple[str, ...]] = (r"vpc(-vpc)?(\.[a-z0-9-]+)?\.aliyuncs\.com",)

    def inventory(self) -> list[str]:
        """VPCs, vSwitches and EIPs."""
        return [
            *(f"vpc {key}" for key in self.collection("vpc.vpc").keys()),  # noqa: SIM118 - a collection, no dict
            *(f"vswitch {key}" for key in self.collection("vpc.vswitch").keys()),  # noqa: SIM118 - likewise
            *(f"eip {key}" for key in self.collection("vpc.eip").keys()),  # noqa: SIM118 - likewise
        ]

    @api("DescribeRegions", optional=("AcceptLanguage", "ProductType"), note="the one region of the local cloud")
    def describe_regions(self, _call: Call) -> Reply:
        """Lists the region."""
        region = self.cloud.region
        row = {"RegionId": region, "LocalName": region, "RegionEndpoint": f"vpc.{region}.aliyuncs.com"}
        return {"Regions": {"Region": [row]}}

    @api("DescribeZones", optional=("AcceptLanguage", "ZoneType"))
    def describe_zones(self, _call: Call) -> Reply:
        """Lists the region's zones."""
        return {"Zones": {"Zone": [{"ZoneId": zone, "LocalName": zone} for zone in zone_ids(self.cloud.region)]}}

    @api("TagResources", required=("ResourceType", "ResourceId.*", "Tag.*"))
    def tag_resources(self, call: Call) -> Reply:
        """Sets tags."""
        added = tags(call)
        kind = self._tagged_kind(call)
        for key in call.list_parameter("ResourceId"):
            document = kind.get(key)
            if document is None:
                raise ApiError(404, "InvalidResourceId.NotFound", f"The specified resource {key} does not exist.")
            document["Tags"] |= added
            if len(document["Tags"]) > MOST_TAGS:
                raise ApiError(400, "QuotaExceeded.TagsPerResource", f"{key} would have more than {MOST_TAGS} tags.")
            kind.put(key, document)
        return {}

    @api("UnTagResources", required=("ResourceType", "ResourceId.*"), optional=("TagKey.*", "All"))
    def untag_resources(self, call: Call) -> Reply:
        """Removes tags, all of them with ``All``."""
        kind = self._tagged_kind(call)
        keys = call.list_parameter("TagKey")
        for key in call.list_parameter("ResourceId"):
            document = kind.get(key)
            if document is None:
                raise ApiError(404, "InvalidResourceId.NotFound", f"The specified resource {key} does not exist.")
            everything = boolean(call.parameters, "All") and not keys
            document["Tags"] = {n: v for n, v in document["Tags"].items() if not everything and n not in keys}
            kind.put(key, document)
        return {}

    @api(
        "ListTagResources",
        required=("ResourceType",),
        optional=("ResourceId.*", "NextToken", "MaxResults", *TAGS),
    )
    def list_tag_resources(self, call: Call) -> Reply:
        """Lists resources with their tags."""
        ids = call.list_parameter("ResourceId")
        rows = [
            {"ResourceId": key, "ResourceType": call.parameters["ResourceType"], "TagKey": n, "TagValue": v}
            for key, document in self._tagged_kind(call).items()
            if (not ids or key in ids) and tagged(document, call)
            for n, v in sorted(document["Tags"].items())
        ]
        shown, numbers = page(rows, {"MaxResults": "50", **call.parameters})
        return {"TagResources": {"TagResource": shown}, "NextToken": numbers["NextToken"]}

    def _tagged_kind(self, call: Call) -> Collection:
        kind = _KINDS.get(call.parameters["ResourceType"].upper())
        if kind is None:
            raise ApiError(400, "InvalidParameter.ResourceType", f"ResourceType must be one of {', '.join(_KINDS)}.")
        return self.collection(kind)
