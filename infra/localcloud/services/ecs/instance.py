"""An instance as it is kept and as the API describes it: the pure part.

A document's ``Power`` says what was asked of the instance: ``on``, ``off``, or on the way ``stopping``,
``rebooting``, ``releasing``. The API's ``Status`` follows from it and from the machine's state.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from infra.localcloud.hypervisor.machine import MachineSpec, MachineStatus
from infra.localcloud.service import ApiError, Reply
from infra.localcloud.services.ecs.catalogue import IMAGES, INSTANCE_TYPES
from infra.localcloud.services.vpc.conventions import pairs
from infra.localcloud.store import Document

MOST_USER_DATA = 32 * 1024  # bytes before encoding

NO_STOPPED_MODE = "Not-applicable"
"""The ``StoppedMode`` of an instance that isn't stopped."""

_IN_TRANSIT = {"stopping": "Stopping", "releasing": "Stopping", "rebooting": "Starting", "off": "Stopped"}


def status(power: str, booted: bool, machine: MachineStatus | None) -> str:
    """The vendor's status: ``Pending``, ``Starting``, ``Running``, ``Stopping`` or ``Stopped``.

    Args:
        power: the document's ``Power``.
        booted: whether the instance was ``Running`` before.
        machine: the machine's state; None while there is none.
    """
    if power in _IN_TRANSIT:
        return _IN_TRANSIT[power]
    if machine is None or machine.state == "starting":
        return "Starting" if booted else "Pending"
    return "Running" if machine.state == "running" else "Stopped"


def machine_spec(instance: Document) -> MachineSpec:
    """What the hypervisor is to run."""
    return MachineSpec(
        id=instance["InstanceId"],
        kind="instance",
        hostname=instance["HostName"],
        address=instance["PrivateIpAddress"],
        user_data=base64.b64decode(instance["UserData"]).decode(),
    )


def user_data(text: str) -> str:
    """User data in base64 as it is kept.

    Raises:
        ApiError: it is no base64, no text, or over 32 KB.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ApiError(400, "InvalidUserData.Base64FormatInvalid", "UserData must be encoded in base64.") from None
    if len(raw) > MOST_USER_DATA:
        raise ApiError(
            400,
            "InvalidUserData.SizeExceeded",
            f"UserData has {len(raw)} bytes before encoding; {MOST_USER_DATA} are allowed.",
        )
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise ApiError(400, "InvalidUserData.NotSupported", "UserData must be UTF-8 text before encoding.") from None
    return text


def host_name(text: str, instance_id: str) -> str:
    """The host name that was asked for, or the vendor's default, ``iZ<id>Z``.

    Raises:
        ApiError: ``InvalidHostName.Malformed``.
    """
    if not text:
        return f"iZ{instance_id.removeprefix('i-')}Z"
    labels = text.split(".")
    fits = 2 <= len(text) <= 64
    if not fits or not all(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?", label) for label in labels):
        raise ApiError(400, "InvalidHostName.Malformed", f"The host name {text!r} is not valid.")
    return text


def described(instance: Document, state: str, region: str, eip: Document | None) -> dict[str, Any]:
    """A row of DescribeInstances.

    Args:
        instance: the document.
        state: its `status`.
        region: the region's id.
        eip: the public address that is associated with it.
    """
    kind = INSTANCE_TYPES[instance["InstanceType"]]
    image = IMAGES[instance["ImageId"]]
    kept = (
        "InstanceId",
        "InstanceName",
        "HostName",
        "Description",
        "ImageId",
        "InstanceType",
        "ZoneId",
        "KeyPairName",
        "DeletionProtection",
        "InstanceChargeType",
        "InternetChargeType",
        "InternetMaxBandwidthIn",
        "InternetMaxBandwidthOut",
        "SpotStrategy",
        "SpotPriceLimit",
        "SpotDuration",
        "SpotInterruptionBehavior",
        "ResourceGroupId",
        "CreationTime",
        "StartTime",
    )
    return {
        **{name: instance[name] for name in kept},
        **_networked(instance, eip),
        "Status": state,
        "StoppedMode": instance["StoppedMode"] if state == "Stopped" else NO_STOPPED_MODE,
        "RegionId": region,
        "SerialNumber": instance["SerialNumber"],
        "Cpu": kind.cpus,
        "CPU": kind.cpus,
        "Memory": int(kind.memory * 1024),
        "InstanceTypeFamily": kind.family,
        "GPUAmount": kind.gpus,
        "GPUSpec": kind.gpu,
        "OSName": image.local_name,
        "OSNameEn": image.name,
        "OSType": "linux",
        "IoOptimized": True,
        "InstanceNetworkType": "vpc",
        "ExpiredTime": "2099-12-31T15:59Z",
        "AutoReleaseTime": "",
        "DeviceAvailable": True,
        "SaleCycle": "",
        "ClusterId": "",
        "VlanId": "",
        "CreditSpecification": "",
        "Recyclable": False,
        "HpcClusterId": "",
        "DeploymentSetId": "",
        "LocalStorageAmount": 0,
        "CpuOptions": {"CoreCount": kind.cpus // 2, "ThreadsPerCore": 2, "Numa": "", "TopologyType": ""},
        "MetadataOptions": dict(instance["MetadataOptions"]),
        "DedicatedHostAttribute": {"DedicatedHostId": "", "DedicatedHostName": "", "DedicatedHostClusterId": ""},
        "DedicatedInstanceAttribute": {"Tenancy": "", "Affinity": ""},
        "EcsCapacityReservationAttr": {"CapacityReservationId": "", "CapacityReservationPreference": ""},
        "HibernationOptions": {"Configured": False},
        "ImageOptions": {"LoginAsNonRoot": False},
        "OperationLocks": {"LockReason": []},
        "RdmaIpAddress": {"IpAddress": []},
        "Tags": {"Tag": pairs(instance["Tags"], "TagKey", "TagValue")},
    }


def attribute(instance: Document, state: str, region: str, eip: Document | None) -> Reply:
    """What DescribeInstanceAttribute tells."""
    row = described(instance, state, region, eip)
    kept = (
        "InstanceId",
        "InstanceName",
        "HostName",
        "Description",
        "Status",
        "StoppedMode",
        "RegionId",
        "ZoneId",
        "ClusterId",
        "VlanId",
        "ImageId",
        "InstanceType",
        "Cpu",
        "Memory",
        "SerialNumber",
        "InstanceNetworkType",
        "InstanceChargeType",
        "InternetChargeType",
        "InternetMaxBandwidthIn",
        "InternetMaxBandwidthOut",
        "CreationTime",
        "ExpiredTime",
        "CreditSpecification",
        "VpcAttributes",
        "PublicIpAddress",
        "EipAddress",
        "InnerIpAddress",
        "SecurityGroupIds",
        "OperationLocks",
        "DedicatedHostAttribute",
    )
    return {**{name: row[name] for name in kept}, "IoOptimized": "optimized", "EnableJumboFrame": False}


def interface(instance: Document, account_id: str) -> dict[str, Any]:
    """A row of DescribeNetworkInterfaces: the primary interface, the only one."""
    address = instance["PrivateIpAddress"]
    return {
        "NetworkInterfaceId": instance["NetworkInterfaceId"],
        "NetworkInterfaceName": "",
        "Description": "",
        "Type": "Primary",
        "Status": "InUse",
        "InstanceId": instance["InstanceId"],
        "VpcId": instance["VpcId"],
        "VSwitchId": instance["VSwitchId"],
        "ZoneId": instance["ZoneId"],
        "MacAddress": instance["MacAddress"],
        "PrivateIpAddress": address,
        "OwnerId": account_id,
        "ResourceGroupId": instance["ResourceGroupId"],
        "CreationTime": instance["CreationTime"],
        "NetworkInterfaceTrafficMode": "Standard",
        "QueueNumber": 2,
        "QueuePairNumber": 0,
        "SourceDestCheck": False,
        "DeleteOnRelease": True,
        "SecurityGroupIds": {"SecurityGroupId": list(instance["SecurityGroupIds"])},
        "PrivateIpSets": {"PrivateIpSet": [{"PrivateIpAddress": address, "Primary": True}]},
        "Ipv6Sets": {"Ipv6Set": []},
        "Attachment": {"InstanceId": instance["InstanceId"], "DeviceIndex": 0, "NetworkCardIndex": 0},
        "AssociatedPublicIp": {},
        "Tags": {"Tag": []},
    }


def _networked(instance: Document, eip: Document | None) -> dict[str, Any]:
    address, public = instance["PrivateIpAddress"], instance["PublicIpAddress"]
    return {
        "VpcAttributes": {
            "VpcId": instance["VpcId"],
            "VSwitchId": instance["VSwitchId"],
            "PrivateIpAddress": {"IpAddress": [address]},
            "NatIpAddress": "",
        },
        "NetworkInterfaces": {
            "NetworkInterface": [
                {
                    "NetworkInterfaceId": instance["NetworkInterfaceId"],
                    "Type": "Primary",
                    "PrimaryIpAddress": address,
                    "MacAddress": instance["MacAddress"],
                    "PrivateIpSets": {"PrivateIpSet": [{"PrivateIpAddress": address, "Primary": True}]},
                }
            ]
        },
        "PublicIpAddress": {"IpAddress": [public] if public else []},
        "InnerIpAddress": {"IpAddress": []},
        "EipAddress": {
            "AllocationId": eip["AllocationId"] if eip else "",
            "IpAddress": eip["IpAddress"] if eip else "",
            "InternetChargeType": eip["InternetChargeType"] if eip else "",
            "Bandwidth": int(eip["Bandwidth"]) if eip else 0,
            "IsSupportUnassociate": bool(eip),
        },
        "SecurityGroupIds": {"SecurityGroupId": list(instance["SecurityGroupIds"])},
    }
