"""The VPC service: what its parts make together, with regions, zones and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.vpc.conventions import api
from infra.localcloud.services.vpc.eip import Addresses
from infra.localcloud.services.vpc.tagging import Tagging
from infra.localcloud.services.vpc.zones import zone_ids
from infra.localcloud.store import Collection

_KINDS = {"VPC": "vpc.vpc", "VSWITCH": "vpc.vswitch", "EIP": "vpc.eip"}


class VpcService(Addresses, Tagging):
    """VPC 2016-04-28: networks, vSwitches, public addresses."""

    name: ClassVar[str] = "vpc"
    versions: ClassVar[tuple[str, ...]] = ("2016-04-28",)
    kinds: ClassVar[Mapping[str, str]] = {"VSwitchId": "vswitch", "VpcId": "vpc", "AllocationId": "eip"}
    too_many_tags: ClassVar[str] = "QuotaExceeded.TagsPerResource"
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
        return self.set_tags(call)

    @api("UnTagResources", required=("ResourceType", "ResourceId.*"), optional=("TagKey.*", "All"))
    def untag_resources(self, call: Call) -> Reply:
        """Removes tags, all of them with ``All``."""
        return self.remove_tags(call)

    def tagged_kind(self, call: Call) -> Collection:
        """The collection of a resource type."""
        kind = _KINDS.get(call.parameters["ResourceType"].upper())
        if kind is None:
            raise ApiError(400, "InvalidParameter.ResourceType", f"ResourceType must be one of {', '.join(_KINDS)}.")
        return self.collection(kind)
