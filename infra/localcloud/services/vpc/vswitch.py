"""vSwitches: a VPC's address blocks, one zone each."""

from __future__ import annotations

from ipaddress import IPv4Network

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.vpc.cidr import available, switch_block
from infra.localcloud.services.vpc.conventions import (
    TAGS,
    api,
    boolean,
    matches,
    moment,
    page,
    pairs,
    tagged,
    tags,
    text_field,
)
from infra.localcloud.services.vpc.network import Networks
from infra.localcloud.services.vpc.zones import zone_ids
from infra.localcloud.store import Document


class Switches(Networks):
    """Operations on vSwitches. Documents are in ``vpc.vswitch`` by id."""

    def switch(self, switch_id: str) -> Document:
        """The vSwitch of that id.

        Raises:
            ApiError: ``InvalidVSwitchId.NotFound``.
        """
        found = self.collection("vpc.vswitch").get(switch_id)
        if found is None:
            raise ApiError(404, "InvalidVSwitchId.NotFound", f"The specified vSwitch {switch_id} does not exist.")
        return found

    @api(
        "CreateVSwitch",
        required=("VpcId", "ZoneId", "CidrBlock"),
        optional=("VSwitchName", "Description", *TAGS),
        token=True,
        note="no IPv6",
    )
    def create_vswitch(self, call: Call) -> Reply:
        """Creates a vSwitch; it is ``Available`` at once."""
        vpc = self.network(call.parameters["VpcId"])
        if call.parameters["ZoneId"] not in zone_ids(self.cloud.region):
            raise ApiError(404, "InvalidZoneId.NotFound", f"The zone {call.parameters['ZoneId']} does not exist.")
        others = [
            IPv4Network(other["CidrBlock"])
            for other in self.collection("vpc.vswitch").values()
            if other["VpcId"] == vpc["VpcId"]
        ]
        block = switch_block(call.parameters["CidrBlock"], IPv4Network(vpc["CidrBlock"]), others)
        switch = {
            "VSwitchId": self.new_id("vsw"),
            "VpcId": vpc["VpcId"],
            "ZoneId": call.parameters["ZoneId"],
            "CidrBlock": str(block),
            "VSwitchName": text_field(call.parameters, "VSwitchName", "VSwitchName"),
            "Description": text_field(call.parameters, "Description", "VSwitchDescription", most=256),
            "ResourceGroupId": vpc["ResourceGroupId"],
            "CreationTime": moment(seconds=True),
            "Tags": tags(call),
        }
        self.collection("vpc.vswitch").put(switch["VSwitchId"], switch)
        return {"VSwitchId": switch["VSwitchId"]}

    @api(
        "DescribeVSwitches",
        optional=(
            "VSwitchId",
            "VpcId",
            "ZoneId",
            "VSwitchName",
            "IsDefault",
            "ResourceGroupId",
            "RouteTableId",
            "PageNumber",
            "PageSize",
            *TAGS,
        ),
    )
    def describe_vswitches(self, call: Call) -> Reply:
        """Lists vSwitches by ids (comma separated), VPC, zone, name and tags."""
        ids = [part for part in call.parameters.get("VSwitchId", "").split(",") if part]
        names = ("VpcId", "ZoneId", "VSwitchName", "ResourceGroupId")
        wanted = [(name, call.parameters.get(name, "")) for name in names]
        found = [
            self._switch_described(switch)
            for switch in self.collection("vpc.vswitch").values()
            if (not ids or switch["VSwitchId"] in ids)
            and matches(switch, wanted)
            and tagged(switch, call)
            and not boolean(call.parameters, "IsDefault")
        ]
        shown, numbers = page(found, call.parameters, most=50)
        return {"VSwitches": {"VSwitch": shown}, **numbers}

    @api("DescribeVSwitchAttributes", required=("VSwitchId",))
    def describe_vswitch_attributes(self, call: Call) -> Reply:
        """One vSwitch with everything that is known of it."""
        return self._switch_described(self.switch(call.parameters["VSwitchId"]))

    @api("ModifyVSwitchAttribute", required=("VSwitchId",), optional=("VSwitchName", "Description"))
    def modify_vswitch_attribute(self, call: Call) -> Reply:
        """Changes name or description."""
        switch = self.switch(call.parameters["VSwitchId"])
        if "VSwitchName" in call.parameters:
            switch["VSwitchName"] = text_field(call.parameters, "VSwitchName", "VSwitchName")
        if "Description" in call.parameters:
            switch["Description"] = text_field(call.parameters, "Description", "VSwitchDescription", most=256)
        self.collection("vpc.vswitch").put(switch["VSwitchId"], switch)
        return {}

    @api("DeleteVSwitch", required=("VSwitchId",))
    def delete_vswitch(self, call: Call) -> Reply:
        """Deletes a vSwitch without instances."""
        switch_id = self.switch(call.parameters["VSwitchId"])["VSwitchId"]
        if self._taken(switch_id):
            raise ApiError(400, "DependencyViolation", f"The vSwitch {switch_id} still has instances.")
        self.collection("vpc.vswitch").delete(switch_id)
        return {}

    def _taken(self, switch_id: str) -> int:
        return sum(i["VSwitchId"] == switch_id for i in self.collection("ecs.instance").values())

    def _switch_described(self, switch: Document) -> Reply:
        vpc = self.network(switch["VpcId"])
        return {
            **{name: value for name, value in switch.items() if name != "Tags"},
            "Status": "Available",
            "IsDefault": False,
            "Ipv6CidrBlock": "",
            "AvailableIpAddressCount": available(IPv4Network(switch["CidrBlock"]), self._taken(switch["VSwitchId"])),
            "RouteTable": {"RouteTableId": vpc["RouteTableId"], "RouteTableType": "System"},
            "NetworkAclId": "",
            "ShareType": "",
            "OwnerId": int(self.cloud.account_id),
            "Tags": {"Tag": pairs(switch["Tags"])},
        }
