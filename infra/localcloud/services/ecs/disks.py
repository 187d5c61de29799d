"""Disks: records that come and go with their instances; the system disk is the machine's folder."""

from __future__ import annotations

from typing import Any

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.ecs.attributes import Attributes
from infra.localcloud.services.ecs.catalogue import DISK_CATEGORIES, MOST_DISK_SIZE, PERFORMANCE_LEVELS
from infra.localcloud.services.vpc.conventions import (
    TAGS,
    api,
    boolean,
    choice,
    integer,
    json_list,
    matches,
    page,
    pairs,
    tagged,
    text_field,
)
from infra.localcloud.store import Document

_NO_LIMIT = "sizes are recorded, and not enforced"


class Disks(Attributes):
    """Operations on disks. Documents are in ``ecs.disk`` by id."""

    def _disk(self, disk_id: str) -> Document:
        found = self.collection("ecs.disk").get(disk_id)
        if found is None:
            raise ApiError(404, "InvalidDiskId.NotFound", f"The specified disk {disk_id} does not exist.")
        return found

    @api(
        "DescribeDisks",
        optional=(
            "DiskIds",
            "InstanceId",
            "DiskType",
            "Category",
            "Status",
            "DiskName",
            "Encrypted",
            "ZoneId",
            "ResourceGroupId",
            "PageNumber",
            "PageSize",
            "NextToken",
            "MaxResults",
            *TAGS,
        ),
    )
    def describe_disks(self, call: Call) -> Reply:
        """Lists disks by ids (a JSON list), instance, type and tags."""
        values = call.parameters
        ids = json_list(values, "DiskIds")
        kind = choice(values, "DiskType", ("all", "system", "data"), "all")
        names = ("InstanceId", "Category", "Status", "DiskName", "ZoneId", "ResourceGroupId")
        wanted = [(name, values.get(name, "")) for name in names]
        encrypted = values.get("Encrypted", "")
        rows = [
            self._disk_described(disk)
            for disk in self.collection("ecs.disk").values()
            if (not ids or disk["DiskId"] in ids)
            and kind in {"all", disk["Type"]}
            and matches({**disk, "Status": "In_use"}, wanted)
            and (not encrypted or disk["Encrypted"] == boolean(values, "Encrypted"))
            and tagged(disk, call)
        ]
        shown, numbers = page(sorted(rows, key=lambda row: row["Type"], reverse=True), values)
        return {"Disks": {"Disk": shown}, **numbers}

    @api("ModifyDiskAttribute", required=("DiskId",), optional=("DiskName", "Description", "DeleteWithInstance"))
    def modify_disk_attribute(self, call: Call) -> Reply:
        """Changes name or description."""
        disk = self._disk(call.parameters["DiskId"])
        for name in ("DiskName", "Description"):
            if name in call.parameters:
                disk[name] = text_field(call.parameters, name, name, least=2, most=256)
        if "DeleteWithInstance" in call.parameters:
            disk["DeleteWithInstance"] = boolean(call.parameters, "DeleteWithInstance")
        self.collection("ecs.disk").put(disk["DiskId"], disk)
        return {}

    @api(
        "ModifyDiskSpec",
        required=("DiskId",),
        optional=("DiskCategory", "PerformanceLevel", "ProvisionedIops", "DryRun"),
    )
    def modify_disk_spec(self, call: Call) -> Reply:
        """Changes category or performance level."""
        disk = self._disk(call.parameters["DiskId"])
        disk["Category"] = choice(call.parameters, "DiskCategory", DISK_CATEGORIES, disk["Category"])
        disk["PerformanceLevel"] = choice(
            call.parameters, "PerformanceLevel", PERFORMANCE_LEVELS, disk["PerformanceLevel"]
        )
        self.collection("ecs.disk").put(disk["DiskId"], disk)
        return {"TaskId": self.new_id("t"), "OrderId": ""}

    @api("ResizeDisk", required=("DiskId", "NewSize"), optional=("Type",), token=True, note=_NO_LIMIT)
    def resize_disk(self, call: Call) -> Reply:
        """Makes a disk larger."""
        disk = self._disk(call.parameters["DiskId"])
        choice(call.parameters, "Type", ("offline", "online"), "offline")
        size = integer(call.parameters, "NewSize", 0, 1, MOST_DISK_SIZE)
        if size < disk["Size"]:
            raise ApiError(
                400,
                "InvalidDiskSize.TooSmall",
                f"A disk can't become smaller: {disk['DiskId']} has {disk['Size']} GiB.",
            )
        disk["Size"] = size
        self.collection("ecs.disk").put(disk["DiskId"], disk)
        return {}

    @api(
        "ReplaceSystemDisk",
        required=("InstanceId",),
        optional=(
            "ImageId",
            "SystemDisk.Size",
            "KeyPairName",
            "SecurityEnhancementStrategy",
            "Encrypted",
            "UseAdditionalService",
        ),
        token=True,
    )
    def replace_system_disk(self, call: Call) -> Reply:
        """Gives a stopped instance a new system disk: the next start is a first boot."""
        values = call.parameters
        instance = self.instance(values["InstanceId"])
        self.stopped(instance)
        instance["ImageId"] = self.image(values.get("ImageId") or instance["ImageId"])
        # The vendor detaches the key pair with the disk that held it; the caller attaches it again.
        instance["KeyPairName"] = values.get("KeyPairName", "")
        disks = self.collection("ecs.disk")
        old = next(
            disk
            for disk in disks.values()
            if disk["InstanceId"] == instance["InstanceId"] and disk["Type"] == "system"
        )
        size = values.get("SystemDisk.Size") or str(old["Size"])
        given = {
            "Category": old["Category"],
            "Size": size,
            "DiskName": old["DiskName"],
            "PerformanceLevel": old["PerformanceLevel"],
            "Encrypted": values.get("Encrypted") or str(old["Encrypted"]),
        }
        new = self.disk(instance, "system", old["Device"], given) | {"Tags": old["Tags"]}
        disks.delete(old["DiskId"])
        disks.put(new["DiskId"], new)
        self.collection("ecs.instance").put(instance["InstanceId"], instance)
        self.cloud.hypervisor.delete(instance["InstanceId"])
        return {"DiskId": new["DiskId"]}

    def _disk_described(self, disk: Document) -> dict[str, Any]:
        return {
            **{name: value for name, value in disk.items() if name != "Tags"},
            "Status": "In_use",
            "RegionId": self.cloud.region,
            "DiskChargeType": "PostPaid",
            "Portable": disk["Type"] == "data",
            "AttachedTime": disk["CreationTime"],
            "MultiAttach": "Disabled",
            "SourceSnapshotId": "",
            "AutoSnapshotPolicyId": "",
            "StorageClusterId": "",
            "DeleteAutoSnapshot": True,
            "EnableAutoSnapshot": True,
            "ExpiredTime": "2999-09-08T16:00Z",
            "Attachments": {
                "Attachment": [
                    {
                        "InstanceId": disk["InstanceId"],
                        "Device": disk["Device"],
                        "AttachedTime": disk["CreationTime"],
                    }
                ]
            },
            "OperationLocks": {"OperationLock": []},
            "MountInstances": {"MountInstance": []},
            "Tags": {"Tag": pairs(disk["Tags"], "TagKey", "TagValue")},
        }
