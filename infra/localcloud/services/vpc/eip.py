"""Elastic public addresses."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.vpc.conventions import (
    TAGS,
    api,
    boolean,
    choice,
    integer,
    matches,
    moment,
    page,
    pairs,
    tagged,
    tags,
    text_field,
)
from infra.localcloud.services.vpc.vswitch import Switches
from infra.localcloud.store import Document, Store

PUBLIC_BLOCK = IPv4Network("203.0.113.0/24")
"""TEST-NET-3 (RFC 5737): public addresses of the local cloud come from here and carry no traffic."""

_NO_TRAFFIC = "the address is of TEST-NET-3: nothing can be reached at it"


def free_public_address(store: Store) -> str:
    """A public address that neither an EIP nor an instance has.

    Raises:
        ApiError: ``QuotaExceeded.Eip``.
    """
    taken = {eip["IpAddress"] for eip in store.collection("vpc.eip").values()}
    taken |= {instance.get("PublicIpAddress", "") for instance in store.collection("ecs.instance").values()}
    for address in PUBLIC_BLOCK.hosts():
        if str(address) not in taken:
            return str(address)
    raise ApiError(400, "QuotaExceeded.Eip", "The local cloud has no public address left.")


class Addresses(Switches):
    """Operations on EIPs. Documents are in ``vpc.eip`` by allocation id."""

    def _eip(self, allocation_id: str) -> Document:
        found = self.collection("vpc.eip").get(allocation_id)
        if found is None:
            raise ApiError(404, "InvalidAllocationId.NotFound", f"The specified EIP {allocation_id} does not exist.")
        return found

    @api(
        "AllocateEipAddress",
        optional=(
            "Bandwidth",
            "InternetChargeType",
            "InstanceChargeType",
            "ISP",
            "Netmode",
            "Name",
            "Description",
            "ResourceGroupId",
            "Period",
            "PricingCycle",
            "AutoPay",
            "InstanceId",
            *TAGS,
        ),
        token=True,
        note=_NO_TRAFFIC,
    )
    def allocate_eip_address(self, call: Call) -> Reply:
        """Allocates an address."""
        values = call.parameters
        eip: Document = {
            "AllocationId": self.new_id("eip"),
            "IpAddress": free_public_address(self.cloud.store),
            "Bandwidth": str(integer(values, "Bandwidth", 5, 1, 200)),
            "InternetChargeType": choice(
                values, "InternetChargeType", ("PayByBandwidth", "PayByTraffic"), "PayByBandwidth"
            ),
            "ChargeType": choice(values, "InstanceChargeType", ("PostPaid", "PrePaid"), "PostPaid"),
            "ISP": values.get("ISP") or "BGP",
            "Netmode": values.get("Netmode") or "public",
            "Name": text_field(values, "Name", "Name"),
            "Description": text_field(values, "Description", "Description", least=0, most=256),
            "ResourceGroupId": values.get("ResourceGroupId", ""),
            "InstanceId": "",
            "InstanceType": "",
            "PrivateIpAddress": "",
            "DeletionProtection": False,
            "AllocationTime": moment(seconds=True),
            "Tags": tags(call),
        }
        self.collection("vpc.eip").put(eip["AllocationId"], eip)
        return {
            "AllocationId": eip["AllocationId"],
            "EipAddress": eip["IpAddress"],
            "ResourceGroupId": eip["ResourceGroupId"],
        }

    @api(
        "DescribeEipAddresses",
        optional=(
            "AllocationId",
            "EipAddress",
            "Status",
            "EipName",
            "AssociatedInstanceId",
            "AssociatedInstanceType",
            "ChargeType",
            "ISP",
            "ResourceGroupId",
            "PageNumber",
            "PageSize",
            *TAGS,
        ),
    )
    def describe_eip_addresses(self, call: Call) -> Reply:
        """Lists addresses by ids (comma separated) and what they are associated with."""
        values = call.parameters
        ids = [part for part in values.get("AllocationId", "").split(",") if part]
        wanted = [
            ("IpAddress", values.get("EipAddress", "")),
            ("Name", values.get("EipName", "")),
            ("InstanceId", values.get("AssociatedInstanceId", "")),
            ("InstanceType", values.get("AssociatedInstanceType", "")),
            *((name, values.get(name, "")) for name in ("Status", "ChargeType", "ISP", "ResourceGroupId")),
        ]
        rows = [
            self._eip_described(eip)
            for eip in self.collection("vpc.eip").values()
            if (not ids or eip["AllocationId"] in ids) and tagged(eip, call)
        ]
        shown, numbers = page([row for row in rows if matches(row, wanted)], values)
        return {"EipAddresses": {"EipAddress": shown}, **numbers}

    @api("ModifyEipAddressAttribute", required=("AllocationId",), optional=("Bandwidth", "Name", "Description"))
    def modify_eip_address_attribute(self, call: Call) -> Reply:
        """Changes bandwidth, name or description."""
        eip = self._eip(call.parameters["AllocationId"])
        if "Bandwidth" in call.parameters:
            eip["Bandwidth"] = str(integer(call.parameters, "Bandwidth", 5, 1, 200))
        for name in ("Name", "Description"):
            if name in call.parameters:
                eip[name] = text_field(call.parameters, name, name, least=0, most=256)
        self.collection("vpc.eip").put(eip["AllocationId"], eip)
        return {}

    @api("DeletionProtection", required=("InstanceId", "Type", "ProtectionEnable"), token=True, note="EIPs only")
    def deletion_protection(self, call: Call) -> Reply:
        """Switches an address's deletion protection."""
        choice(call.parameters, "Type", ("EIP",))
        eip = self._eip(call.parameters["InstanceId"])
        eip["DeletionProtection"] = boolean(call.parameters, "ProtectionEnable")
        self.collection("vpc.eip").put(eip["AllocationId"], eip)
        return {}

    @api("DescribeHighDefinitionMonitorLogAttribute", required=("InstanceId",), optional=("InstanceType",))
    def describe_high_definition_monitor_log_attribute(self, call: Call) -> Reply:
        """Tells that the fine-grained monitor has no log store; it can't be given one."""
        eip = self._eip(call.parameters["InstanceId"])
        return {"InstanceId": eip["AllocationId"], "Success": "true"}

    @api(
        "AssociateEipAddress",
        required=("AllocationId", "InstanceId"),
        optional=("InstanceType", "PrivateIpAddress", "Mode", "VpcId", "InstanceRegionId"),
        token=True,
        note=f"ECS instances only; {_NO_TRAFFIC}",
    )
    def associate_eip_address(self, call: Call) -> Reply:
        """Associates an address with an instance."""
        values = call.parameters
        eip = self._eip(values["AllocationId"])
        if eip["InstanceId"]:
            raise ApiError(400, "IncorrectEipStatus", f"The EIP {eip['AllocationId']} is associated already.")
        kind = choice(values, "InstanceType", ("EcsInstance",), "EcsInstance")
        instance = self.collection("ecs.instance").get(values["InstanceId"])
        if instance is None:
            raise ApiError(404, "InvalidInstanceId.NotFound", f"The instance {values['InstanceId']} does not exist.")
        if instance.get("PublicIpAddress"):
            raise ApiError(400, "InvalidInstance.InternetIpExists", "The instance has a public address already.")
        for other in self.collection("vpc.eip").values():
            if other["InstanceId"] == instance["InstanceId"]:
                raise ApiError(400, "InvalidInstance.EipExists", "The instance has an EIP already.")
        address = instance["PrivateIpAddress"]
        if values.get("PrivateIpAddress", address) != address:
            raise ApiError(400, "InvalidPrivateIpAddress", "PrivateIpAddress is not an address of the instance.")
        eip |= {"InstanceId": instance["InstanceId"], "InstanceType": kind}
        self.collection("vpc.eip").put(eip["AllocationId"], eip)
        return {}

    @api(
        "UnassociateEipAddress",
        required=("AllocationId",),
        optional=("InstanceId", "InstanceType", "PrivateIpAddress", "Force"),
        token=True,
    )
    def unassociate_eip_address(self, call: Call) -> Reply:
        """Takes an address away from its instance."""
        eip = self._eip(call.parameters["AllocationId"])
        if not eip["InstanceId"] or call.parameters.get("InstanceId", eip["InstanceId"]) != eip["InstanceId"]:
            raise ApiError(400, "InvalidAssociation.NotFound", "The EIP is not associated with that instance.")
        eip |= {"InstanceId": "", "InstanceType": ""}
        self.collection("vpc.eip").put(eip["AllocationId"], eip)
        return {}

    @api("ReleaseEipAddress", required=("AllocationId",))
    def release_eip_address(self, call: Call) -> Reply:
        """Gives an address back."""
        eip = self._eip(call.parameters["AllocationId"])
        if eip["InstanceId"]:
            raise ApiError(
                400, "IncorrectEipStatus", f"The EIP {eip['AllocationId']} is associated: take it away first."
            )
        if eip["DeletionProtection"]:
            raise ApiError(400, "OperationDenied.DeletionProtection", "The EIP is protected against deletion.")
        self.collection("vpc.eip").delete(eip["AllocationId"])
        return {}

    def _eip_described(self, eip: Document) -> dict[str, Any]:
        return {
            **{name: value for name, value in eip.items() if name not in {"Tags", "PrivateIpAddress"}},
            "Status": "InUse" if eip["InstanceId"] else "Available",
            "RegionId": self.cloud.region,
            "EipBandwidth": eip["Bandwidth"],
            "Mode": "NAT",
            "HDMonitorStatus": "OFF",
            "VpcId": "",
            "SecurityProtectionTypes": {"SecurityProtectionType": []},
            "OperationLocks": {"LockReason": []},
            "Tags": {"Tag": pairs(eip["Tags"])},
        }
