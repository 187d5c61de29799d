"""What RunInstances asks for, checked against what there is."""

from __future__ import annotations

import uuid
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from infra.localcloud.service import ApiError, Call
from infra.localcloud.services.ecs.catalogue import (
    DISK_CATEGORIES,
    IMAGE_SIZE,
    IMAGES,
    INSTANCE_TYPES,
    MOST_DISK_SIZE,
    PERFORMANCE_LEVELS,
    newest_image,
)
from infra.localcloud.services.ecs.instance import host_name, user_data
from infra.localcloud.services.ecs.roles import Roles
from infra.localcloud.services.vpc.cidr import LOOPBACK, assignable, free_address
from infra.localcloud.services.vpc.conventions import (
    TAGS,
    boolean,
    choice,
    integer,
    moment,
    tags,
    text_field,
)
from infra.localcloud.services.vpc.eip import free_public_address
from infra.localcloud.services.vpc.zones import zone_ids
from infra.localcloud.store import Document

RUN_PARAMETERS = (
    "ImageId",
    "ImageFamily",
    "InstanceType",
    "ZoneId",
    "VSwitchId",
    "PrivateIpAddress",
    "SecurityGroupId",
    "SecurityGroupIds.*",
    "InstanceName",
    "UniqueSuffix",
    "HostName",
    "Description",
    "KeyPairName",
    "RamRoleName",
    "UserData",
    "InstanceChargeType",
    "SpotStrategy",
    "SpotPriceLimit",
    "SpotDuration",
    "SpotInterruptionBehavior",
    "InternetChargeType",
    "InternetMaxBandwidthIn",
    "InternetMaxBandwidthOut",
    "SystemDisk.*",
    "DataDisk.*",
    "DeletionProtection",
    "HttpEndpoint",
    "HttpTokens",
    "HttpPutResponseHopLimit",
    "SecurityEnhancementStrategy",
    "ResourceGroupId",
    "IoOptimized",
    "Amount",
    "MinAmount",
    "DryRun",
    *TAGS,
)

_DISK_MEMBERS = {
    "Category",
    "Size",
    "DiskName",
    "Description",
    "PerformanceLevel",
    "Encrypted",
    "KMSKeyId",
    "DeleteWithInstance",
    "Device",
    "BurstingEnabled",
    "ProvisionedIops",
}


class Orders(Roles):
    """From the parameters of RunInstances to documents of instances and disks."""

    def instance_type(self, name: str) -> str:
        """The name, when there is such an instance type.

        Raises:
            ApiError: ``InvalidInstanceType.ValueNotSupported``.
        """
        if name not in INSTANCE_TYPES:
            raise ApiError(
                403,
                "InvalidInstanceType.ValueNotSupported",
                f"The instance type {name!r} is not offered; there are {', '.join(INSTANCE_TYPES)}.",
            )
        return name

    def image(self, image_id: str, family: str = "") -> str:
        """The id of an image, by id or as the newest of a family.

        Raises:
            ApiError: ``MissingParameter`` or ``InvalidImageId.NotFound``.
        """
        if not image_id and not family:
            raise ApiError(400, "MissingParameter", "ImageId or ImageFamily is mandatory for this action.")
        if image_id in IMAGES:
            return image_id
        newest = newest_image(family) if not image_id else None
        if newest is None:
            raise ApiError(404, "InvalidImageId.NotFound", f"The image {image_id or family} does not exist.")
        return newest.id

    def address(self, switch: Document, wanted: str, *, own: str = "") -> str:
        """A private address of a switch: the wanted one, or the lowest that is free.

        Raises:
            ApiError: it is not of the switch or taken, or the switch's addresses can't run machines here.
        """
        block = IPv4Network(switch["CidrBlock"])
        if not block.subnet_of(LOOPBACK):
            raise ApiError(
                403,
                "OperationDenied.CidrBlockNotSupported",
                f"The local cloud starts instances only at addresses of {LOOPBACK}; the vSwitch {switch['VSwitchId']}"
                f" has the block {block}. Create the VPC with a block such as 127.80.0.0/16.",
            )
        # Loopback addresses are the host's: two networks with the same block share them.
        others = self.collection("ecs.instance").values()
        taken = {other["PrivateIpAddress"] for other in others if other["InstanceId"] != own}
        if not wanted:
            return str(free_address(block, taken))
        try:
            address = IPv4Address(wanted)
        except ValueError:
            raise ApiError(
                400, "InvalidPrivateIpAddress.Malformed", f"The private address {wanted!r} is not valid."
            ) from None
        if not assignable(address, block):
            raise ApiError(
                400,
                "InvalidPrivateIpAddress",
                f"The private address {wanted} is not one that instances of the vSwitch {block} can have.",
            )
        if wanted in taken:
            raise ApiError(400, "InvalidPrivateIpAddress.Duplicated", f"The private address {wanted} is in use.")
        return wanted

    def order(self, call: Call) -> list[tuple[Document, list[Document]]]:
        """The instances that a call of RunInstances asks for, each with its disks; nothing is stored.

        Raises:
            ApiError: a parameter is wrong, or names something that does not exist.
        """
        values = call.parameters
        switch = self._ordered_switch(values.get("VSwitchId", ""), values.get("ZoneId", ""))
        groups = self._ordered_groups(call, switch["VpcId"])
        amount = integer(values, "Amount", 1, 1, 100)
        if integer(values, "MinAmount", 1, 1, 100) > amount:
            raise ApiError(400, "InvalidMinAmount", "MinAmount is over Amount.")
        if amount > 1 and values.get("PrivateIpAddress"):
            raise ApiError(400, "InvalidParameter.Conflict", "PrivateIpAddress can be given for one instance only.")
        choice(values, "IoOptimized", ("optimized",), "optimized")
        choice(values, "SecurityEnhancementStrategy", ("Active", "Deactive"), "Active")
        orders: list[tuple[Document, list[Document]]] = []
        addresses: set[str] = set()
        for number in range(1, amount + 1):
            instance_id = self.new_id("i")
            address = self.address(switch, values.get("PrivateIpAddress", ""))
            if address in addresses:
                taken = addresses | {i["PrivateIpAddress"] for i in self.collection("ecs.instance").values()}
                address = str(free_address(IPv4Network(switch["CidrBlock"]), taken))
            addresses.add(address)
            suffix = f"{number:03}" if amount > 1 and boolean(values, "UniqueSuffix") else ""
            name = text_field(values, "InstanceName", "InstanceName", least=2) or instance_id
            bandwidth = integer(values, "InternetMaxBandwidthOut", 0, 0, 100)
            price = values.get("SpotPriceLimit", "0")
            if not price.replace(".", "", 1).isdecimal():
                raise ApiError(400, "InvalidSpotPriceLimit", f"SpotPriceLimit must be a number, not {price!r}.")
            now = moment()
            instance: Document = {
                "InstanceId": instance_id,
                "InstanceName": name + suffix,
                "HostName": host_name(
                    values.get("HostName", "") + (suffix if values.get("HostName") else ""), instance_id
                ),
                "Description": text_field(values, "Description", "Description", least=2, most=256),
                "ImageId": self.image(values.get("ImageId", ""), values.get("ImageFamily", "")),
                "InstanceType": self.instance_type(values["InstanceType"]),
                "ZoneId": switch["ZoneId"],
                "VpcId": switch["VpcId"],
                "VSwitchId": switch["VSwitchId"],
                "PrivateIpAddress": address,
                "PublicIpAddress": free_public_address(self.cloud.store) if bandwidth else "",
                "SecurityGroupIds": groups,
                "KeyPairName": self._ordered_key(values.get("KeyPairName", "")),
                "RamRoleName": self.role(values["RamRoleName"]) if values.get("RamRoleName") else "",
                "UserData": user_data(values.get("UserData", "")),
                "DeletionProtection": boolean(values, "DeletionProtection"),
                "InstanceChargeType": choice(values, "InstanceChargeType", ("PostPaid",), "PostPaid"),
                "InternetChargeType": choice(
                    values, "InternetChargeType", ("PayByTraffic", "PayByBandwidth"), "PayByTraffic"
                ),
                "InternetMaxBandwidthIn": integer(values, "InternetMaxBandwidthIn", 200, 1, 200),
                "InternetMaxBandwidthOut": bandwidth,
                "SpotStrategy": choice(
                    values, "SpotStrategy", ("NoSpot", "SpotWithPriceLimit", "SpotAsPriceGo"), "NoSpot"
                ),
                "SpotPriceLimit": float(price),
                "SpotDuration": integer(values, "SpotDuration", 1, 0, 6),
                "SpotInterruptionBehavior": choice(
                    values, "SpotInterruptionBehavior", ("Terminate", "Stop"), "Terminate"
                ),
                "MetadataOptions": {
                    "HttpEndpoint": choice(values, "HttpEndpoint", ("enabled", "disabled"), "enabled"),
                    "HttpTokens": choice(values, "HttpTokens", ("optional", "required"), "optional"),
                    "HttpPutResponseHopLimit": integer(values, "HttpPutResponseHopLimit", 1, 1, 64),
                },
                "Maintenance": {"Windows": [], "Action": "AutoRecover", "Notify": False},
                "ResourceGroupId": values.get("ResourceGroupId", ""),
                "NetworkInterfaceId": self.new_id("eni"),
                "MacAddress": mac_address(instance_id),
                "SerialNumber": str(uuid.uuid5(uuid.NAMESPACE_URL, instance_id)),
                "CreationTime": now,
                "StartTime": now,
                "StoppedMode": "KeepCharging",
                "Power": "on",
                "Booted": False,
                "Tags": tags(call),
            }
            orders.append((instance, self._ordered_disks(call, instance)))
        return orders

    def _ordered_switch(self, switch_id: str, zone: str) -> Document:
        if zone and zone not in zone_ids(self.cloud.region):
            raise ApiError(404, "InvalidZoneId.NotFound", f"The zone {zone} does not exist.")
        if not switch_id:
            raise ApiError(400, "MissingParameter", "VSwitchId is mandatory: the local cloud has no classic network.")
        switch = self.collection("vpc.vswitch").get(switch_id)
        if switch is None:
            raise ApiError(404, "InvalidVSwitchId.NotFound", f"The specified vSwitch {switch_id} does not exist.")
        if zone and zone != switch["ZoneId"]:
            raise ApiError(
                400, "InvalidParameter.Conflict", f"The vSwitch {switch_id} is in {switch['ZoneId']}, not in {zone}."
            )
        return switch

    def _ordered_groups(self, call: Call, vpc_id: str) -> list[str]:
        ids = call.list_parameter("SecurityGroupIds")
        if single := call.parameters.get("SecurityGroupId", ""):
            if ids:
                raise ApiError(400, "InvalidParameter.Conflict", "SecurityGroupId excludes SecurityGroupIds.")
            ids = [single]
        if not ids:
            raise ApiError(400, "MissingParameter", "SecurityGroupId or SecurityGroupIds.N is mandatory.")
        return self.groups_of_network(ids, vpc_id)

    def groups_of_network(self, ids: list[str], vpc_id: str) -> list[str]:
        """The ids, when all of them are security groups of that VPC.

        Raises:
            ApiError: one is not, or there are more than five.
        """
        if len(ids) > 5 or len(set(ids)) != len(ids):
            raise ApiError(400, "InvalidSecurityGroupIds", "An instance has one to five different security groups.")
        for group_id in ids:
            if self.group(group_id)["VpcId"] != vpc_id:
                raise ApiError(
                    400, "InvalidSecurityGroupId.VPCMismatch", f"The security group {group_id} is not of {vpc_id}."
                )
        return ids

    def _ordered_key(self, name: str) -> str:
        if name and self.collection("ecs.key_pair").get(name) is None:
            raise ApiError(404, "InvalidKeyPairName.NotFound", f"The key pair {name} does not exist.")
        return name

    def _ordered_disks(self, call: Call, instance: Document) -> list[Document]:
        system = {
            name.removeprefix("SystemDisk."): value
            for name, value in call.parameters.items()
            if name.startswith("SystemDisk.")
        }
        disks = [self.disk(instance, "system", "/dev/xvda", system)]
        for number, given in enumerate(call.structures("DataDisk")):
            disks.append(
                self.disk(instance, "data", given.get("Device") or f"/dev/xvd{chr(ord('b') + number)}", given)
            )
        return disks

    def disk(self, instance: Document, kind: str, device: str, given: dict[str, str]) -> Document:
        """A disk of an instance.

        Raises:
            ApiError: a member is unknown or out of range.
        """
        stem = "SystemDisk" if kind == "system" else "DataDisk.N"
        code = stem.partition(".")[0]
        for name in given:
            if name not in _DISK_MEMBERS:
                raise ApiError(400, "InvalidParameter", f"The parameter {stem}.{name} is not supported.")
        named: dict[str, Any] = {f"{code}{name}": value for name, value in given.items()}
        category = choice(named, f"{code}Category", DISK_CATEGORIES, "cloud_essd")
        size = integer(named, f"{code}Size", 40, IMAGE_SIZE, MOST_DISK_SIZE)
        level = choice(
            named, f"{code}PerformanceLevel", PERFORMANCE_LEVELS, "PL1" if category == "cloud_essd" else ""
        )
        return {
            "DiskId": self.new_id("d"),
            "InstanceId": instance["InstanceId"],
            "Type": kind,
            "Device": device,
            "Category": category,
            "Size": size,
            "PerformanceLevel": level,
            "DiskName": text_field(given, "DiskName", "DiskName", least=2),
            "Description": text_field(given, "Description", "Description", least=2, most=256),
            "Encrypted": boolean(named, f"{code}Encrypted"),
            "KMSKeyId": given.get("KMSKeyId", ""),
            "DeleteWithInstance": boolean(named, f"{code}DeleteWithInstance", default=True),
            "BurstingEnabled": boolean(named, f"{code}BurstingEnabled"),
            "ProvisionedIops": integer(named, f"{code}ProvisionedIops", 0, 0, 50_000),
            "ImageId": instance["ImageId"] if kind == "system" else "",
            "ZoneId": instance["ZoneId"],
            "ResourceGroupId": instance["ResourceGroupId"],
            "CreationTime": moment(seconds=True),
            "Tags": {},
        }


def mac_address(instance_id: str) -> str:
    """The hardware address of an instance's interface, always the same one; with the vendor's prefix."""
    digest = uuid.uuid5(uuid.NAMESPACE_OID, instance_id).hex
    return f"00:16:3e:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"
