"""VPCs with their router and system route table."""

from __future__ import annotations

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.vpc.cidr import network_block
from infra.localcloud.services.vpc.conventions import (
    TAGS,
    RpcService,
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
from infra.localcloud.store import Document

DEFAULT_BLOCK = "172.16.0.0/12"


class Networks(RpcService):
    """Operations on VPCs and route tables. Documents are in ``vpc.vpc`` by id."""

    def network(self, vpc_id: str) -> Document:
        """The VPC of that id.

        Raises:
            ApiError: ``InvalidVpcId.NotFound``.
        """
        found = self.collection("vpc.vpc").get(vpc_id)
        if found is None:
            raise ApiError(404, "InvalidVpcId.NotFound", f"The specified VPC {vpc_id} does not exist.")
        return found

    @api(
        "CreateVpc",
        optional=(
            "CidrBlock",
            "VpcName",
            "Description",
            "ResourceGroupId",
            "EnableIpv6",
            "EnableDnsHostname",
            "DryRun",
            *TAGS,
        ),
        token=True,
        note="blocks of 127.0.0.0/8 are allowed (and 127.0.0.0/16 refused); no IPv6",
    )
    def create_vpc(self, call: Call) -> Reply:
        """Creates a VPC; it is ``Available`` at once."""
        block = network_block(call.parameters.get("CidrBlock") or DEFAULT_BLOCK)
        _refuse_ipv6(call)
        vpc: Document = {
            "VpcId": self.new_id("vpc"),
            "VRouterId": self.new_id("vrt"),
            "RouteTableId": self.new_id("vtb"),
            "CidrBlock": str(block),
            "VpcName": text_field(call.parameters, "VpcName", "VpcName"),
            "Description": text_field(call.parameters, "Description", "VpcDescription", most=256),
            "ResourceGroupId": call.parameters.get("ResourceGroupId", ""),
            "DnsHostnameStatus": "ENABLED" if boolean(call.parameters, "EnableDnsHostname") else "DISABLED",
            "CreationTime": moment(seconds=True),
            "Tags": tags(call),
        }
        if boolean(call.parameters, "DryRun"):
            raise ApiError(400, "DryRunOperation", "Request validation has been passed with DryRun flag set.")
        self.collection("vpc.vpc").put(vpc["VpcId"], vpc)
        return {name: vpc[name] for name in ("VpcId", "VRouterId", "RouteTableId", "ResourceGroupId")}

    @api(
        "DescribeVpcs",
        optional=("VpcId", "VpcName", "IsDefault", "ResourceGroupId", "PageNumber", "PageSize", *TAGS),
    )
    def describe_vpcs(self, call: Call) -> Reply:
        """Lists VPCs by ids (comma separated), name and tags."""
        ids = [part for part in call.parameters.get("VpcId", "").split(",") if part]
        wanted = [(name, call.parameters.get(name, "")) for name in ("VpcName", "ResourceGroupId")]
        found = [
            self._described(vpc)
            for vpc in self.collection("vpc.vpc").values()
            if (not ids or vpc["VpcId"] in ids)
            and matches(vpc, wanted)
            and tagged(vpc, call)
            and not boolean(call.parameters, "IsDefault")
        ]
        shown, numbers = page(found, call.parameters, most=50)
        return {"Vpcs": {"Vpc": shown}, **numbers}

    @api("DescribeVpcAttribute", required=("VpcId",), optional=("IsDefault",))
    def describe_vpc_attribute(self, call: Call) -> Reply:
        """One VPC with everything that is known of it."""
        return self._described(self.network(call.parameters["VpcId"]))

    @api(
        "ModifyVpcAttribute",
        required=("VpcId",),
        optional=("VpcName", "Description", "CidrBlock", "EnableIPv6", "EnableDnsHostname"),
        note="the block can be changed while the VPC has no vSwitch",
    )
    def modify_vpc_attribute(self, call: Call) -> Reply:
        """Changes name, description, block or DNS host names."""
        vpc = self.network(call.parameters["VpcId"])
        _refuse_ipv6(call)
        if "VpcName" in call.parameters:
            vpc["VpcName"] = text_field(call.parameters, "VpcName", "VpcName")
        if "Description" in call.parameters:
            vpc["Description"] = text_field(call.parameters, "Description", "VpcDescription", most=256)
        if "EnableDnsHostname" in call.parameters:
            enabled = boolean(call.parameters, "EnableDnsHostname")
            vpc["DnsHostnameStatus"] = "ENABLED" if enabled else "DISABLED"
        if (block := call.parameters.get("CidrBlock")) and block != vpc["CidrBlock"]:
            if self._switch_ids(vpc["VpcId"]):
                raise ApiError(400, "DependencyViolation.VSwitch", "The block of a VPC with vSwitches can't change.")
            vpc["CidrBlock"] = str(network_block(block))
        self.collection("vpc.vpc").put(vpc["VpcId"], vpc)
        return {}

    @api("DeleteVpc", required=("VpcId",), optional=("ForceDelete", "DryRun"), token=True)
    def delete_vpc(self, call: Call) -> Reply:
        """Deletes an empty VPC."""
        vpc_id = self.network(call.parameters["VpcId"])["VpcId"]
        if self._switch_ids(vpc_id):
            raise ApiError(400, "DependencyViolation.VSwitch", f"The VPC {vpc_id} still has vSwitches.")
        groups = self.collection("ecs.security_group").values()
        if any(group["VpcId"] == vpc_id for group in groups):
            raise ApiError(400, "DependencyViolation.SecurityGroup", f"The VPC {vpc_id} still has security groups.")
        if boolean(call.parameters, "DryRun"):
            raise ApiError(400, "DryRunOperation", "Request validation has been passed with DryRun flag set.")
        self.collection("vpc.vpc").delete(vpc_id)
        return {}

    @api(
        "DescribeRouteTableList",
        optional=(
            "VpcId",
            "RouterId",
            "RouterType",
            "RouteTableId",
            "RouteTableName",
            "ResourceGroupId",
            "PageNumber",
            "PageSize",
        ),
        note="the system table of each VPC; custom tables are not offered",
    )
    def describe_route_table_list(self, call: Call) -> Reply:
        """Lists route tables."""
        names = ("VpcId", "RouterId", "RouteTableId", "ResourceGroupId")
        wanted = [(name, call.parameters.get(name, "")) for name in names]
        rows = [self._route_table(vpc) for vpc in self.collection("vpc.vpc").values()]
        shown, numbers = page([row for row in rows if matches(row, wanted)], call.parameters, most=50)
        return {"RouterTableList": {"RouterTableListType": shown}, **numbers}

    @api("DescribeRouteTables", optional=("VRouterId", "RouteTableId", "RouterId", "PageNumber", "PageSize"))
    def describe_route_tables(self, call: Call) -> Reply:
        """Lists route tables with their entries: the local route of every vSwitch."""
        wanted = [("RouteTableId", call.parameters.get("RouteTableId", ""))]
        router = call.parameters.get("VRouterId") or call.parameters.get("RouterId", "")
        found = [
            {
                "RouteTableId": vpc["RouteTableId"],
                "VRouterId": vpc["VRouterId"],
                "RouteTableType": "System",
                "CreationTime": vpc["CreationTime"],
                "RouteEntrys": {
                    "RouteEntry": [
                        {
                            "DestinationCidrBlock": switch["CidrBlock"],
                            "RouteTableId": vpc["RouteTableId"],
                            "Type": "System",
                            "Status": "Available",
                            "InstanceId": "",
                            "NextHopType": "local",
                        }
                        for switch in self.collection("vpc.vswitch").values()
                        if switch["VpcId"] == vpc["VpcId"]
                    ]
                },
            }
            for vpc in self.collection("vpc.vpc").values()
            if matches(vpc, [*wanted, ("VRouterId", router)])
        ]
        shown, numbers = page(found, call.parameters, most=50)
        return {"RouteTables": {"RouteTable": shown}, **numbers}

    def _switch_ids(self, vpc_id: str) -> list[str]:
        return [s["VSwitchId"] for s in self.collection("vpc.vswitch").values() if s["VpcId"] == vpc_id]

    def _described(self, vpc: Document) -> Reply:
        kept = ("VpcId", "VpcName", "Description", "CidrBlock", "VRouterId", "ResourceGroupId", "CreationTime")
        return {
            **{name: vpc[name] for name in kept},
            "Status": "Available",
            "RegionId": self.cloud.region,
            "OwnerId": int(self.cloud.account_id),
            "DnsHostnameStatus": vpc["DnsHostnameStatus"],
            "IsDefault": False,
            "EnabledIpv6": False,
            "Ipv6CidrBlock": "",
            "ClassicLinkEnabled": False,
            "VSwitchIds": {"VSwitchId": self._switch_ids(vpc["VpcId"])},
            "RouterTableIds": {"RouterTableIds": [vpc["RouteTableId"]]},
            "SecondaryCidrBlocks": {"SecondaryCidrBlock": []},
            "UserCidrs": {"UserCidr": []},
            "Ipv6CidrBlocks": {"Ipv6CidrBlock": []},
            "Tags": {"Tag": pairs(vpc["Tags"])},
        }

    def _route_table(self, vpc: Document) -> Reply:
        return {
            "RouteTableId": vpc["RouteTableId"],
            "RouterId": vpc["VRouterId"],
            "RouterType": "VRouter",
            "RouteTableType": "System",
            "RouteTableName": "",
            "Description": "",
            "VpcId": vpc["VpcId"],
            "ResourceGroupId": vpc["ResourceGroupId"],
            "RoutePropagationEnable": True,
            "AssociateType": "VSwitch",
            "Status": "Available",
            "CreationTime": vpc["CreationTime"],
            "OwnerId": int(self.cloud.account_id),
            "VSwitchIds": {"VSwitchId": self._switch_ids(vpc["VpcId"])},
            "Tags": {"Tag": []},
        }


def _refuse_ipv6(call: Call) -> None:
    for name in ("EnableIpv6", "EnableIPv6"):
        if boolean(call.parameters, name):
            raise ApiError(400, "OperationUnsupported.EnableIpv6", f"{name}: the local cloud has no IPv6.")
