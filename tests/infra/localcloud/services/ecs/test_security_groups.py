"""Security groups: rules through the API, and what the hypervisor is told."""

from __future__ import annotations

from typing import Any

import pytest

from infra.localcloud.hypervisor.machine import Ingress
from tests.infra.localcloud.services.vpc.rpc import SmallCloud

RULE = {"IpProtocol": "tcp", "PortRange": "9200/9200", "SourceCidrIp": "127.90.0.0/16"}


def rules(cloud: SmallCloud, group: str, direction: str = "all") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.call(
        "ecs", "DescribeSecurityGroupAttribute", SecurityGroupId=group, Direction=direction, NicType="intranet"
    )["Permissions"]["Permission"]
    return found


def test_a_rule_comes_into_force_and_goes(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    cloud.run(switch, group, PrivateIpAddress="127.90.1.10")
    assert cloud.machines.ingress == []
    nested = {f"Permissions__1__{name}": value for name, value in RULE.items()}
    cloud.call("ecs", "AuthorizeSecurityGroup", SecurityGroupId=group, **nested)
    assert cloud.machines.ingress == [Ingress("127.90.1.10", 9200, 9200, ["127.90.0.0/16"])]
    (kept,) = rules(cloud, group, "ingress")
    assert (kept["IpProtocol"], kept["Policy"], kept["Priority"]) == ("TCP", "Accept", "1")
    assert rules(cloud, group, "egress") == []
    cloud.call("ecs", "RevokeSecurityGroup", SecurityGroupId=group, **RULE, Policy="accept", Priority="1")
    assert cloud.machines.ingress == []
    cloud.call("ecs", "RevokeSecurityGroup", SecurityGroupId=group, **RULE)


def test_a_rule_that_is_there_is_kept_once(cloud: SmallCloud) -> None:
    _, _, group = cloud.network()
    for _ in range(2):
        cloud.call("ecs", "AuthorizeSecurityGroup", SecurityGroupId=group, **RULE)
    assert len(rules(cloud, group)) == 1
    (kept,) = rules(cloud, group)
    cloud.call(
        "ecs", "RevokeSecurityGroup", SecurityGroupId=group, SecurityGroupRuleId__1=kept["SecurityGroupRuleId"]
    )
    assert rules(cloud, group) == []


def test_rules_change(cloud: SmallCloud) -> None:
    _, _, group = cloud.network()
    cloud.call("ecs", "AuthorizeSecurityGroup", SecurityGroupId=group, **RULE)
    cloud.call("ecs", "ModifySecurityGroupRule", SecurityGroupId=group, **RULE, Description="search")
    (kept,) = rules(cloud, group)
    assert kept["Description"] == "search"
    changed = {"SecurityGroupRuleId": kept["SecurityGroupRuleId"], "PortRange": "9300/9300"}
    cloud.call("ecs", "ModifySecurityGroupRule", SecurityGroupId=group, **changed)
    (now,) = rules(cloud, group)
    assert (now["PortRange"], now["SecurityGroupRuleId"]) == ("9300/9300", kept["SecurityGroupRuleId"])
    missing = RULE | {"PortRange": "1/1"}
    code = cloud.refused("ecs", "ModifySecurityGroupRule", SecurityGroupId=group, **missing)
    assert code == "InvalidSecurityGroupRule.RuleNotExist"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"IpProtocol": "carrier-pigeon"}, "InvalidIpProtocol.ValueNotSupported"),
        ({"PortRange": "0/70000"}, "InvalidPortRange.Malformed"),
        ({"PortRange": "-1/-1"}, "InvalidPortRange.Malformed"),
        ({"IpProtocol": "all"}, "InvalidPortRange.Malformed"),
        ({"SourceCidrIp": "127.90.0.1/16"}, "InvalidSourceCidrIp.Malformed"),
        ({"SourceCidrIp": ""}, "MissingSource"),
        ({"SourceGroupId": "sg-1"}, "MissingSource"),
        ({"SourceCidrIp": "", "SourceGroupId": "sg-1"}, "InvalidSecurityGroupId.NotFound"),
        ({"Policy": "perhaps"}, "InvalidPolicy.ValueNotSupported"),
        ({"Priority": "101"}, "InvalidPriority"),
        ({"Ipv6SourceCidrIp": "::/0"}, "InvalidParameter"),
        ({"SecurityGroupId": "sg-1"}, "InvalidSecurityGroupId.NotFound"),
    ],
)
def test_refused_rules(cloud: SmallCloud, changes: dict[str, str], code: str) -> None:
    _, _, group = cloud.network()
    given = {"SecurityGroupId": group, **RULE} | changes
    assert cloud.refused("ecs", "AuthorizeSecurityGroup", **given) == code
    assert rules(cloud, group) == []


def test_groups_that_are_named_by_others_stay(cloud: SmallCloud) -> None:
    vpc, _, group = cloud.network()
    other = cloud.call("ecs", "CreateSecurityGroup", VpcId=vpc, SecurityGroupName="other")["SecurityGroupId"]
    named = {"SecurityGroupId": group, "IpProtocol": "tcp", "PortRange": "1/1", "SourceGroupId": other}
    cloud.call("ecs", "AuthorizeSecurityGroup", **named)
    assert cloud.refused("ecs", "DeleteSecurityGroup", SecurityGroupId=other) == "DependencyViolation"
    cloud.call("ecs", "RevokeSecurityGroup", **named)
    cloud.call("ecs", "DeleteSecurityGroup", SecurityGroupId=other)
    assert cloud.call("ecs", "DescribeSecurityGroups", SecurityGroupId=other)["TotalCount"] == 0


def test_inner_access_joining_and_leaving(cloud: SmallCloud) -> None:
    vpc, switch, group = cloud.network()
    instance = cloud.run(switch, group, PrivateIpAddress="127.90.1.10")
    cloud.run(switch, group, PrivateIpAddress="127.90.1.11")
    assert len(cloud.machines.ingress) == 2
    cloud.call("ecs", "ModifySecurityGroupPolicy", SecurityGroupId=group, InnerAccessPolicy="Drop")
    assert cloud.machines.ingress == []
    cloud.call("ecs", "ModifySecurityGroupPolicy", SecurityGroupId=group, InnerAccessPolicy="accept")
    other = cloud.call("ecs", "CreateSecurityGroup", VpcId=vpc)["SecurityGroupId"]
    given = {"InstanceId": instance, "SecurityGroupId": group}
    assert cloud.refused("ecs", "LeaveSecurityGroup", **given) == "InstanceLastSecurityGroup"
    assert cloud.refused("ecs", "JoinSecurityGroup", **given) == "InvalidInstanceId.AlreadyExists"
    cloud.call("ecs", "JoinSecurityGroup", InstanceId=instance, SecurityGroupId=other)
    cloud.call("ecs", "LeaveSecurityGroup", **given)
    assert cloud.machines.ingress == []
    cloud.call("ecs", "ModifyInstanceAttribute", InstanceId=instance, SecurityGroupIds__1=group)
    assert len(cloud.machines.ingress) == 2
