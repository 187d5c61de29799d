"""What there is to choose from: regions, zones, instance types, images."""

from __future__ import annotations

from typing import Any

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.ecs.catalogue import (
    DISK_CATEGORIES,
    IMAGE_SIZE,
    INSTANCE_TYPES,
    MOST_DISK_SIZE,
    Image,
    InstanceType,
    images,
)
from infra.localcloud.services.vpc.conventions import TAGS, RpcService, api, choice, integer, page
from infra.localcloud.services.vpc.zones import zone_ids

_ALIKE = "every zone offers everything; there is no stock and there are no prices"


class Offers(RpcService):
    """Operations that describe the `catalogue`."""

    @api(
        "DescribeRegions",
        optional=("AcceptLanguage", "InstanceChargeType", "ResourceType"),
        note="the one region of the local cloud",
    )
    def describe_regions(self, _call: Call) -> Reply:
        """Lists the region."""
        region = self.cloud.region
        row = {
            "RegionId": region,
            "LocalName": region,
            "RegionEndpoint": f"ecs.{region}.aliyuncs.com",
            "Status": "available",
        }
        return {"Regions": {"Region": [row]}}

    @api(
        "DescribeZones",
        optional=("AcceptLanguage", "InstanceChargeType", "SpotStrategy", "Verbose"),
        note=_ALIKE,
    )
    def describe_zones(self, _call: Call) -> Reply:
        """Lists the zones with what they offer."""
        rows = [
            {
                "ZoneId": zone,
                "LocalName": zone,
                "ZoneType": "AvailabilityZone",
                "AvailableInstanceTypes": {"InstanceTypes": list(INSTANCE_TYPES)},
                "AvailableDiskCategories": {"DiskCategories": list(DISK_CATEGORIES)},
                "AvailableResourceCreation": {
                    "ResourceTypes": ["VSwitch", "IoOptimized", "Instance", "DedicatedHost", "Disk"]
                },
                "DedicatedHostGenerations": {"DedicatedHostGeneration": []},
                "AvailableVolumeCategories": {"VolumeCategories": []},
                "AvailableDedicatedHostTypes": {"DedicatedHostType": []},
                "AvailableResources": {"ResourcesInfo": []},
            }
            for zone in zone_ids(self.cloud.region)
        ]
        return {"Zones": {"Zone": rows}}

    @api(
        "DescribeAvailableResource",
        required=("DestinationResource",),
        optional=(
            "ZoneId",
            "InstanceType",
            "InstanceChargeType",
            "SpotStrategy",
            "IoOptimized",
            "NetworkCategory",
            "SystemDiskCategory",
            "DataDiskCategory",
            "ResourceType",
            "Cores",
            "Memory",
            "Scope",
        ),
        note=_ALIKE,
    )
    def describe_available_resource(self, call: Call) -> Reply:
        """Lists what every zone has of one kind of resource."""
        values = call.parameters
        kinds = ("Zone", "IoOptimized", "InstanceType", "Network", "SystemDisk", "DataDisk")
        kind = choice(values, "DestinationResource", kinds)
        zone = values.get("ZoneId", "")
        if zone and zone not in zone_ids(self.cloud.region):
            raise ApiError(404, "InvalidZoneId.NotFound", f"The zone {zone} does not exist.")
        wanted = values.get("InstanceType", "")
        if wanted and wanted not in INSTANCE_TYPES:
            raise ApiError(404, "InvalidInstanceType.NotFound", f"The instance type {wanted} does not exist.")
        rows = [
            {
                "RegionId": self.cloud.region,
                "ZoneId": zone_id,
                "Status": "Available",
                "StatusCategory": "WithStock",
                "AvailableResources": {
                    "AvailableResource": [
                        {"Type": kind, "SupportedResources": {"SupportedResource": self._supported(kind, call)}}
                    ]
                },
            }
            for zone_id in zone_ids(self.cloud.region)
            if zone in {"", zone_id}
        ]
        return {"AvailableZones": {"AvailableZone": rows}}

    @api(
        "DescribeInstanceTypes",
        optional=(
            "InstanceTypes.*",
            "InstanceType",
            "InstanceTypeFamily",
            "GPUSpec",
            "MinimumCpuCoreCount",
            "MaximumCpuCoreCount",
            "MinimumMemorySize",
            "MaximumMemorySize",
            "MinimumGPUAmount",
            "MaximumGPUAmount",
            "SystemDiskCategory",
            "CpuArchitecture",
            "NextToken",
            "MaxResults",
        ),
        note="the types of the catalogue",
    )
    def describe_instance_types(self, call: Call) -> Reply:
        """Lists instance types."""
        values = call.parameters
        ids = call.list_parameter("InstanceTypes")
        if single := values.get("InstanceType"):
            ids.append(single)
        least = integer(values, "MinimumCpuCoreCount", 1, 1, 1000)
        most = integer(values, "MaximumCpuCoreCount", 1000, 1, 1000)
        gpus = integer(values, "MinimumGPUAmount", 0, 0, 100)
        most_gpus = integer(values, "MaximumGPUAmount", 100, 0, 100)
        memory = (_number(values.get("MinimumMemorySize"), 0), _number(values.get("MaximumMemorySize"), 1e6))
        found = [
            _type_described(kind)
            for kind in INSTANCE_TYPES.values()
            if (not ids or kind.id in ids)
            and values.get("InstanceTypeFamily", "") in {"", kind.family}
            and values.get("GPUSpec", "") in {"", kind.gpu}
            and values.get("CpuArchitecture", "X86") == "X86"
            and least <= kind.cpus <= most
            and gpus <= kind.gpus <= most_gpus
            and memory[0] <= kind.memory <= memory[1]
        ]
        shown, numbers = page(found, {"MaxResults": "1600", **values}, most=1600)
        return {"InstanceTypes": {"InstanceType": shown}, "NextToken": numbers["NextToken"]}

    @api("DescribeInstanceTypeFamilies", optional=("Generation",))
    def describe_instance_type_families(self, _call: Call) -> Reply:
        """Lists the families of the catalogue."""
        families = sorted({kind.family for kind in INSTANCE_TYPES.values()})
        rows = [{"InstanceTypeFamilyId": family, "Generation": "ecs-6"} for family in families]
        return {"InstanceTypeFamilies": {"InstanceTypeFamily": rows}}

    @api(
        "DescribeImages",
        optional=(
            "ImageId",
            "ImageFamily",
            "ImageName",
            "ImageOwnerAlias",
            "ImageOwnerId",
            "InstanceType",
            "Status",
            "OSType",
            "Architecture",
            "Usage",
            "IsSupportCloudinit",
            "IsSupportIoOptimized",
            "ActionType",
            "ShowExpired",
            "IsPublic",
            "ResourceGroupId",
            "SnapshotId",
            "DryRun",
            "PageNumber",
            "PageSize",
            *TAGS,
        ),
        note="Alibaba Cloud Linux 3; machines of all images have the same root folder",
    )
    def describe_images(self, call: Call) -> Reply:
        """Lists public images by ids (comma separated), family and name."""
        values = call.parameters
        other = (
            values.get("ImageOwnerAlias", "system") not in {"", "system"}
            or values.get("OSType", "linux") not in {"", "linux"}
            or values.get("Architecture", "x86_64") not in {"", "x86_64"}
            or "Available" not in (values.get("Status") or "Available").split(",")
            or values.get("IsSupportCloudinit", "true").lower() == "false"
            or bool(values.get("SnapshotId"))
            or values.get("ImageOwnerId", "0") not in {"", "0"}
            or bool(call.structures("Tag"))
        )
        found = images(values.get("ImageId", ""), values.get("ImageFamily", ""), values.get("ImageName", ""))
        shown, numbers = page([] if other else [_image_described(image) for image in found], values)
        return {"RegionId": self.cloud.region, "Images": {"Image": shown}, **numbers}

    @api("DescribeImageFromFamily", required=("ImageFamily",))
    def describe_image_from_family(self, call: Call) -> Reply:
        """The newest image of a family."""
        found = images(family=call.parameters["ImageFamily"])
        return {"Image": _image_described(found[0]) if found else {}}

    @api(
        "DescribeImageSupportInstanceTypes",
        required=("ImageId",),
        optional=("ActionType", "Filter.*"),
        note="every image supports every type",
    )
    def describe_image_support_instance_types(self, call: Call) -> Reply:
        """Lists the instance types that an image runs on."""
        if not images(call.parameters["ImageId"]):
            raise ApiError(404, "InvalidImageId.NotFound", f"The image {call.parameters['ImageId']} does not exist.")
        rows = [_type_described(kind) for kind in INSTANCE_TYPES.values()]
        return {"ImageId": call.parameters["ImageId"], "InstanceTypes": {"InstanceType": rows}}

    def _supported(self, kind: str, call: Call) -> list[dict[str, Any]]:
        values = call.parameters
        names: list[str]
        if kind == "InstanceType":
            cores = integer(values, "Cores", 0, 0, 1000)
            memory = _number(values.get("Memory"), 0)
            names = [
                known.id
                for known in INSTANCE_TYPES.values()
                if values.get("InstanceType", "") in {"", known.id}
                and cores in {0, known.cpus}
                and memory in {0, known.memory}
            ]
        elif kind in {"SystemDisk", "DataDisk"}:
            sizes = {"Min": IMAGE_SIZE, "Max": MOST_DISK_SIZE, "Unit": "GiB"}
            return [
                {"Value": name, "Status": "Available", "StatusCategory": "WithStock", **sizes}
                for name in DISK_CATEGORIES
            ]
        else:
            names = {"Zone": zone_ids(self.cloud.region), "IoOptimized": ["optimized"], "Network": ["vpc"]}[kind]
        return [{"Value": name, "Status": "Available", "StatusCategory": "WithStock"} for name in names]


def _number(text: str | None, default: float) -> float:
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise ApiError(400, "InvalidParameter", f"{text!r} is no number.") from None


def _type_described(kind: InstanceType) -> dict[str, Any]:
    return {
        "InstanceTypeId": kind.id,
        "InstanceTypeFamily": kind.family,
        "InstanceFamilyLevel": kind.level,
        "InstanceCategory": "GPU-accelerated" if kind.gpus else "General-purpose",
        "CpuCoreCount": kind.cpus,
        "CpuArchitecture": "X86",
        "MemorySize": kind.memory,
        "GPUAmount": kind.gpus,
        "GPUSpec": kind.gpu,
        "GPUMemorySize": 0,
        "EniQuantity": 4,
        "EniPrivateIpAddressQuantity": 10,
        "EniIpv6AddressQuantity": 0,
        "EniTotalQuantity": 4,
        "PrimaryEniQueueNumber": 2,
        "SecondaryEniQueueNumber": 2,
        "MaximumQueueNumberPerEni": 4,
        "TotalEniQueueQuantity": 8,
        "NvmeSupport": "supported",
        "DiskQuantity": 17,
        "LocalStorageAmount": 0,
        "LocalStorageCapacity": 0,
        "LocalStorageCategory": "",
        "InitialCredit": 0,
        "BaselineCredit": 0,
        "PhysicalProcessorModel": "",
    }


def _image_described(image: Image) -> dict[str, Any]:
    return {
        "ImageId": image.id,
        "ImageName": image.id,
        "ImageFamily": image.family,
        "ImageOwnerAlias": "system",
        "ImageOwnerId": 0,
        "ImageVersion": "",
        "Description": "",
        "OSName": image.local_name,
        "OSNameEn": image.name,
        "OSType": "linux",
        "Platform": "Aliyun",
        "Architecture": image.architecture,
        "Size": IMAGE_SIZE,
        "Status": "Available",
        "Progress": "100%",
        "Usage": "instance",
        "CreationTime": image.created,
        "IsSupportCloudinit": True,
        "IsSupportIoOptimized": True,
        "IsPublic": True,
        "IsSubscribed": False,
        "IsSelfShared": "",
        "IsCopied": False,
        "ProductCode": "",
        "ResourceGroupId": "",
        "DiskDeviceMappings": {"DiskDeviceMapping": []},
        "Tags": {"Tag": []},
    }
