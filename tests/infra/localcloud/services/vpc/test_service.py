"""The VPC service: networks, switches, public addresses, with the vendor's errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.models import Config
from alibabacloud_vpc20160428 import models
from alibabacloud_vpc20160428.client import Client

from tests.infra.localcloud.services.vpc.rpc import REGION, SmallCloud, serve


@pytest.fixture
def client(cloud: SmallCloud) -> Iterator[Client]:
    with serve(cloud) as proxy:
        yield Client(
            Config(
                access_key_id="key",
                access_key_secret="secret",
                region_id=REGION,
                endpoint=f"vpc.{REGION}.aliyuncs.com",
                protocol="HTTP",
                http_proxy=proxy,
            )
        )


def test_a_network_through_the_sdk(client: Client) -> None:
    vpc = client.create_vpc(
        models.CreateVpcRequest(
            region_id=REGION,
            cidr_block="127.91.0.0/16",
            vpc_name="net",
            tag=[models.CreateVpcRequestTag(key="project", value="ragrec")],
        )
    ).body
    described = client.describe_vpc_attribute(
        models.DescribeVpcAttributeRequest(region_id=REGION, vpc_id=vpc.vpc_id)
    ).body
    assert (described.status, described.cidr_block, described.vpc_name) == ("Available", "127.91.0.0/16", "net")
    assert [(t.key, t.value) for t in described.tags.tag] == [("project", "ragrec")]
    switch = client.create_vswitch(
        models.CreateVSwitchRequest(
            region_id=REGION,
            vpc_id=vpc.vpc_id,
            zone_id=f"{REGION}-h",
            cidr_block="127.91.1.0/24",
            v_switch_name="one",
        )
    ).body
    attributes = client.describe_vswitch_attributes(
        models.DescribeVSwitchAttributesRequest(region_id=REGION, v_switch_id=switch.v_switch_id)
    ).body
    assert (attributes.status, attributes.available_ip_address_count) == ("Available", 252)
    tables = client.describe_route_table_list(
        models.DescribeRouteTableListRequest(region_id=REGION, vpc_id=vpc.vpc_id)
    ).body.router_table_list.router_table_list_type
    assert [(t.route_table_type, t.v_switch_ids.v_switch_id) for t in tables] == [("System", [switch.v_switch_id])]
    with pytest.raises(ClientException) as refused:
        client.delete_vpc(models.DeleteVpcRequest(region_id=REGION, vpc_id=vpc.vpc_id))
    assert refused.value.code == "DependencyViolation.VSwitch"
    client.delete_vswitch(models.DeleteVSwitchRequest(region_id=REGION, v_switch_id=switch.v_switch_id))
    client.delete_vpc(models.DeleteVpcRequest(region_id=REGION, vpc_id=vpc.vpc_id))
    with pytest.raises(ClientException) as gone:
        client.describe_vpc_attribute(models.DescribeVpcAttributeRequest(region_id=REGION, vpc_id=vpc.vpc_id))
    assert (gone.value.status_code, gone.value.code) == (404, "InvalidVpcId.NotFound")


def test_ids_look_like_the_vendors(cloud: SmallCloud) -> None:
    vpc, switch, group = cloud.network()
    for identifier, prefix in ((vpc, "vpc"), (switch, "vsw"), (group, "sg")):
        assert identifier.startswith(f"{prefix}-bp1")
        assert len(identifier) == len(prefix) + 23


def test_a_client_token_makes_one_network(cloud: SmallCloud) -> None:
    first = cloud.call("vpc", "CreateVpc", CidrBlock="127.91.0.0/16", ClientToken="t1")
    again = cloud.call("vpc", "CreateVpc", CidrBlock="127.91.0.0/16", ClientToken="t1")
    assert first["VpcId"] == again["VpcId"]
    assert len(cloud.services["vpc"].inventory()) == 1
    code = cloud.refused("vpc", "CreateVpc", CidrBlock="127.92.0.0/16", ClientToken="t1")
    assert code == "IdempotentParameterMismatch"


def test_a_refused_call_leaves_its_token_unused(cloud: SmallCloud) -> None:
    assert cloud.refused("vpc", "CreateVpc", CidrBlock="nonsense", ClientToken="t1") == "InvalidCidrBlock"
    cloud.call("vpc", "CreateVpc", CidrBlock="127.91.0.0/16", ClientToken="t1")


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        ("CreateVpc", {"CidrBlock": "127.91.0.0/16", "RegionId": "cn-nowhere"}, "InvalidRegionId.NotFound"),
        ("CreateVpc", {"EnableIpv6": "true"}, "OperationUnsupported.EnableIpv6"),
        ("CreateVpc", {"VpcName": "http://x"}, "InvalidVpcName.Malformed"),
        ("CreateVpc", {"Colour": "red"}, "InvalidParameter"),
        ("CreateVpc", {"Tag__1__Key": "acs:x", "Tag__1__Value": "1"}, "InvalidTagKey.Malformed"),
        ("CreateVpc", {"DryRun": "true"}, "DryRunOperation"),
        ("DescribeVpcAttribute", {}, "MissingVpcId"),
        ("DescribeVpcAttribute", {"VpcId": "vpc-1"}, "InvalidVpcId.NotFound"),
        ("DeleteVSwitch", {"VSwitchId": "vsw-1"}, "InvalidVSwitchId.NotFound"),
        ("DescribeVpcs", {"PageSize": "0"}, "InvalidPageSize"),
        ("ReleaseEipAddress", {"AllocationId": "eip-1"}, "InvalidAllocationId.NotFound"),
        (
            "TagResources",
            {"ResourceType": "X", "ResourceId__1": "a", "Tag__1__Key": "k"},
            "InvalidParameter.ResourceType",
        ),
        ("CreateMoon", {}, "InvalidAction.NotFound"),
    ],
)
def test_refusals(cloud: SmallCloud, action: str, parameters: dict[str, str], code: str) -> None:
    assert cloud.refused("vpc", action, **parameters) == code


def test_refusals_of_a_switch(cloud: SmallCloud) -> None:
    vpc, switch, group = cloud.network()
    given = {"VpcId": vpc, "ZoneId": f"{REGION}-h", "CidrBlock": "127.90.2.0/24"}
    assert cloud.refused("vpc", "CreateVSwitch", **given | {"ZoneId": "cn-hangzhou-z"}) == "InvalidZoneId.NotFound"
    assert cloud.refused("vpc", "CreateVSwitch", **given | {"VpcId": "vpc-1"}) == "InvalidVpcId.NotFound"
    overlapping = given | {"CidrBlock": "127.90.1.0/25"}
    assert cloud.refused("vpc", "CreateVSwitch", **overlapping) == "InvalidCidrBlock.Overlapped"
    cloud.run(switch, group)
    assert cloud.refused("vpc", "DeleteVSwitch", VSwitchId=switch) == "DependencyViolation"


def test_a_vpc_with_a_security_group_stays(cloud: SmallCloud) -> None:
    vpc, switch, group = cloud.network()
    cloud.call("vpc", "DeleteVSwitch", VSwitchId=switch)
    assert cloud.refused("vpc", "DeleteVpc", VpcId=vpc) == "DependencyViolation.SecurityGroup"
    cloud.call("ecs", "DeleteSecurityGroup", SecurityGroupId=group)
    cloud.call("vpc", "DeleteVpc", VpcId=vpc)
    assert cloud.services["vpc"].inventory() == []


def test_changes_of_networks(cloud: SmallCloud) -> None:
    vpc, switch, _ = cloud.network()
    cloud.call("vpc", "ModifyVpcAttribute", VpcId=vpc, VpcName="new", Description="more", EnableDnsHostname="true")
    described = cloud.call("vpc", "DescribeVpcAttribute", VpcId=vpc)
    assert (described["VpcName"], described["Description"]) == ("new", "more")
    assert described["DnsHostnameStatus"] == "ENABLED"
    changed = {"VpcId": vpc, "CidrBlock": "127.99.0.0/16"}
    assert cloud.refused("vpc", "ModifyVpcAttribute", **changed) == "DependencyViolation.VSwitch"
    cloud.call("vpc", "ModifyVSwitchAttribute", VSwitchId=switch, VSwitchName="s")
    assert cloud.call("vpc", "DescribeVSwitchAttributes", VSwitchId=switch)["VSwitchName"] == "s"


def test_pages_and_filters(cloud: SmallCloud) -> None:
    ids = [
        cloud.call(
            "vpc", "CreateVpc", CidrBlock=f"127.{n}.0.0/16", VpcName=f"n{n}", Tag__1__Key="n", Tag__1__Value=n
        )["VpcId"]
        for n in range(91, 94)
    ]
    page = cloud.call("vpc", "DescribeVpcs", PageNumber=2, PageSize=2)
    assert (page["TotalCount"], len(page["Vpcs"]["Vpc"])) == (3, 1)
    by_id = cloud.call("vpc", "DescribeVpcs", VpcId=ids[0])
    assert [row["VpcId"] for row in by_id["Vpcs"]["Vpc"]] == [ids[0]]
    by_tag = cloud.call("vpc", "DescribeVpcs", Tag__1__Key="n", Tag__1__Value="92")
    assert [row["VpcName"] for row in by_tag["Vpcs"]["Vpc"]] == ["n92"]


def test_tags(cloud: SmallCloud) -> None:
    vpc, _, _ = cloud.network()
    given = {"ResourceType": "VPC", "ResourceId__1": vpc}
    cloud.call("vpc", "TagResources", **given, Tag__1__Key="a", Tag__1__Value="1", Tag__2__Key="b", Tag__2__Value="2")
    cloud.call("vpc", "UnTagResources", **given, TagKey__1="a")
    listed = cloud.call("vpc", "ListTagResources", **given)["TagResources"]["TagResource"]
    assert listed == [{"ResourceId": vpc, "ResourceType": "VPC", "TagKey": "b", "TagValue": "2"}]


def test_a_public_address_goes_to_an_instance_and_back(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    eip = cloud.call("vpc", "AllocateEipAddress", Bandwidth=5)
    given = {"AllocationId": eip["AllocationId"], "InstanceId": instance}
    cloud.call("vpc", "AssociateEipAddress", **given)
    (row,) = cloud.call("vpc", "DescribeEipAddresses", AllocationId=eip["AllocationId"])["EipAddresses"]["EipAddress"]
    assert (row["Status"], row["InstanceId"], row["IpAddress"]) == ("InUse", instance, eip["EipAddress"])
    assert cloud.refused("vpc", "ReleaseEipAddress", AllocationId=eip["AllocationId"]) == "IncorrectEipStatus"
    assert cloud.refused("vpc", "AssociateEipAddress", **given) == "IncorrectEipStatus"
    (described,) = cloud.call("ecs", "DescribeInstances")["Instances"]["Instance"]
    assert described["EipAddress"]["IpAddress"] == eip["EipAddress"]
    cloud.call("vpc", "UnassociateEipAddress", **given)
    cloud.call("vpc", "ReleaseEipAddress", AllocationId=eip["AllocationId"])
    assert cloud.call("vpc", "DescribeEipAddresses")["TotalCount"] == 0
