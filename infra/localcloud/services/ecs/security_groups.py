"""Security groups and their rules."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.ecs.ingress import ingress_rules
from infra.localcloud.services.vpc.conventions import (
    TAGS,
    RpcService,
    api,
    boolean,
    choice,
    integer,
    json_list,
    matches,
    moment,
    page,
    pairs,
    tagged,
    tags,
    text_field,
)
from infra.localcloud.store import Document

MOST_RULES = 200
_PROTOCOLS = ("TCP", "UDP", "ICMP", "GRE", "ALL")
_SIDES = {"ingress": "Source", "egress": "Dest"}
_ENFORCED = "TCP between machines and from the host is enforced, other protocols are recorded; IPv4 only"

# What tells one rule of a group from another.
_KEY = ("Direction", "IpProtocol", "PortRange", "SourcePortRange", "NicType", "Policy", "Priority")
_PEERS = ("SourceCidrIp", "SourceGroupId", "DestCidrIp", "DestGroupId")

_RULE_PARAMETERS = (
    "IpProtocol",
    "PortRange",
    "SourcePortRange",
    "NicType",
    "Policy",
    "Priority",
    "Description",
    "SourceCidrIp",
    "SourceGroupId",
    "SourceGroupOwnerAccount",
    "DestCidrIp",
    "DestGroupId",
    "DestGroupOwnerAccount",
)


class SecurityGroups(RpcService):
    """Operations on security groups. Documents, rules included, are in ``ecs.security_group`` by id."""

    def group(self, group_id: str) -> Document:
        """The security group of that id.

        Raises:
            ApiError: ``InvalidSecurityGroupId.NotFound``.
        """
        found = self.collection("ecs.security_group").get(group_id)
        if found is None:
            raise ApiError(
                404, "InvalidSecurityGroupId.NotFound", f"The specified security group {group_id} does not exist."
            )
        return found

    def apply_ingress(self) -> None:
        """Hands the hypervisor what the groups say now."""
        instances = self.collection("ecs.instance").values()
        groups = dict(self.collection("ecs.security_group").items())
        self.cloud.hypervisor.set_ingress(ingress_rules(instances, groups))

    @api(
        "CreateSecurityGroup",
        required=("VpcId",),
        optional=("SecurityGroupName", "Description", "SecurityGroupType", "ResourceGroupId", *TAGS),
        token=True,
        note="normal groups only",
    )
    def create_security_group(self, call: Call) -> Reply:
        """Creates a group: nothing comes in but from its members, everything goes out."""
        values = call.parameters
        vpc_id = values["VpcId"]
        if self.collection("vpc.vpc").get(vpc_id) is None:
            raise ApiError(404, "InvalidVpcId.NotFound", f"The specified VPC {vpc_id} does not exist.")
        group: Document = {
            "SecurityGroupId": self.new_id("sg"),
            "SecurityGroupName": text_field(values, "SecurityGroupName", "SecurityGroupName", least=2),
            "Description": text_field(values, "Description", "SecurityGroupDescription", least=2, most=256),
            "SecurityGroupType": choice(values, "SecurityGroupType", ("normal",), "normal"),
            "VpcId": vpc_id,
            "ResourceGroupId": values.get("ResourceGroupId", ""),
            "InnerAccessPolicy": "Accept",
            "CreationTime": moment(seconds=True),
            "Permissions": [],
            "Tags": tags(call),
        }
        self.collection("ecs.security_group").put(group["SecurityGroupId"], group)
        return {"SecurityGroupId": group["SecurityGroupId"]}

    @api(
        "DescribeSecurityGroups",
        optional=(
            "SecurityGroupId",
            "SecurityGroupIds",
            "SecurityGroupName",
            "SecurityGroupType",
            "NetworkType",
            "VpcId",
            "ResourceGroupId",
            "PageNumber",
            "PageSize",
            "NextToken",
            "MaxResults",
            "FuzzyQuery",
            "IsQueryEcsCount",
            *TAGS,
        ),
    )
    def describe_security_groups(self, call: Call) -> Reply:
        """Lists groups by ids (a JSON list), VPC, name and tags."""
        values = call.parameters
        ids = json_list(values, "SecurityGroupIds")
        names = ("SecurityGroupId", "SecurityGroupType", "VpcId", "ResourceGroupId")
        wanted = [(name, values.get(name, "")) for name in names]
        name = values.get("SecurityGroupName", "").strip("*")
        fuzzy = boolean(values, "FuzzyQuery") or "*" in values.get("SecurityGroupName", "")
        found = []
        for group in self.collection("ecs.security_group").values():
            own = group["SecurityGroupName"]
            if (
                (not ids or group["SecurityGroupId"] in ids)
                and matches(group, wanted)
                and (not name or own == name or (fuzzy and name in own))
                and tagged(group, call)
            ):
                found.append(self._group_described(group))
        shown, numbers = page(found, values)
        return {"SecurityGroups": {"SecurityGroup": shown}, "RegionId": self.cloud.region, **numbers}

    @api(
        "DescribeSecurityGroupAttribute",
        required=("SecurityGroupId",),
        optional=("Direction", "NicType", "Attribute", "NextToken", "MaxResults"),
    )
    def describe_security_group_attribute(self, call: Call) -> Reply:
        """One group with its rules."""
        group = self.group(call.parameters["SecurityGroupId"])
        direction = choice(call.parameters, "Direction", ("ingress", "egress", "all"), "all")
        rules = [r for r in group["Permissions"] if direction in {"all", r["Direction"]}]
        shown, numbers = rules, {"NextToken": ""}
        if "MaxResults" in call.parameters:
            shown, numbers = page(rules, call.parameters, most=1000)
        kept = ("SecurityGroupId", "SecurityGroupName", "Description", "VpcId", "InnerAccessPolicy")
        return {
            **{name: group[name] for name in kept},
            "RegionId": self.cloud.region,
            "Permissions": {"Permission": shown},
            "NextToken": numbers["NextToken"],
        }

    @api(
        "ModifySecurityGroupAttribute",
        required=("SecurityGroupId",),
        optional=("SecurityGroupName", "Description"),
    )
    def modify_security_group_attribute(self, call: Call) -> Reply:
        """Changes name or description."""
        group = self.group(call.parameters["SecurityGroupId"])
        if "SecurityGroupName" in call.parameters:
            group["SecurityGroupName"] = text_field(
                call.parameters, "SecurityGroupName", "SecurityGroupName", least=2
            )
        if "Description" in call.parameters:
            group["Description"] = text_field(
                call.parameters, "Description", "SecurityGroupDescription", least=2, most=256
            )
        self.collection("ecs.security_group").put(group["SecurityGroupId"], group)
        return {}

    @api("ModifySecurityGroupPolicy", required=("SecurityGroupId", "InnerAccessPolicy"), token=True)
    def modify_security_group_policy(self, call: Call) -> Reply:
        """Says whether members reach each other."""
        group = self.group(call.parameters["SecurityGroupId"])
        group["InnerAccessPolicy"] = choice(call.parameters, "InnerAccessPolicy", ("Accept", "Drop"))
        self.collection("ecs.security_group").put(group["SecurityGroupId"], group)
        self.apply_ingress()
        return {}

    @api("DeleteSecurityGroup", required=("SecurityGroupId",))
    def delete_security_group(self, call: Call) -> Reply:
        """Deletes a group that has no members and that no other group's rule names."""
        group_id = self.group(call.parameters["SecurityGroupId"])["SecurityGroupId"]
        if any(group_id in instance["SecurityGroupIds"] for instance in self.collection("ecs.instance").values()):
            raise ApiError(403, "DependencyViolation", f"The security group {group_id} still has instances.")
        for other in self.collection("ecs.security_group").values():
            if other["SecurityGroupId"] != group_id and any(
                group_id in {rule["SourceGroupId"], rule["DestGroupId"]} for rule in other["Permissions"]
            ):
                raise ApiError(
                    403,
                    "DependencyViolation",
                    f"The security group {group_id} is named by a rule of {other['SecurityGroupId']}.",
                )
        self.collection("ecs.security_group").delete(group_id)
        return {}

    @api(
        "AuthorizeSecurityGroup",
        required=("SecurityGroupId",),
        optional=(*_RULE_PARAMETERS, "Permissions.*"),
        token=True,
        note=_ENFORCED,
    )
    def authorize_security_group(self, call: Call) -> Reply:
        """Adds rules for what comes in."""
        return self._authorize(call, "ingress")

    @api(
        "AuthorizeSecurityGroupEgress",
        required=("SecurityGroupId",),
        optional=(*_RULE_PARAMETERS, "Permissions.*"),
        token=True,
        note=f"{_ENFORCED}; what machines send to the world outside is not restricted",
    )
    def authorize_security_group_egress(self, call: Call) -> Reply:
        """Adds rules for what goes out."""
        return self._authorize(call, "egress")

    @api(
        "RevokeSecurityGroup",
        required=("SecurityGroupId",),
        optional=(*_RULE_PARAMETERS, "Permissions.*", "SecurityGroupRuleId.*"),
        token=True,
    )
    def revoke_security_group(self, call: Call) -> Reply:
        """Removes rules for what comes in; rules that aren't there count as removed."""
        return self._revoke(call, "ingress")

    @api(
        "RevokeSecurityGroupEgress",
        required=("SecurityGroupId",),
        optional=(*_RULE_PARAMETERS, "Permissions.*", "SecurityGroupRuleId.*"),
        token=True,
    )
    def revoke_security_group_egress(self, call: Call) -> Reply:
        """Removes rules for what goes out; rules that aren't there count as removed."""
        return self._revoke(call, "egress")

    @api(
        "ModifySecurityGroupRule",
        required=("SecurityGroupId",),
        optional=(*_RULE_PARAMETERS, "SecurityGroupRuleId"),
        token=True,
        note="the description, or with SecurityGroupRuleId everything but the direction",
    )
    def modify_security_group_rule(self, call: Call) -> Reply:
        """Changes a rule for what comes in."""
        return self._modify(call, "ingress")

    @api(
        "ModifySecurityGroupEgressRule",
        required=("SecurityGroupId",),
        optional=(*_RULE_PARAMETERS, "SecurityGroupRuleId"),
        token=True,
        note="the description, or with SecurityGroupRuleId everything but the direction",
    )
    def modify_security_group_egress_rule(self, call: Call) -> Reply:
        """Changes a rule for what goes out."""
        return self._modify(call, "egress")

    def _authorize(self, call: Call, direction: str) -> Reply:
        group = self.group(call.parameters["SecurityGroupId"])
        for given in _given_rules(call):
            rule = self._rule(given, direction)
            if any(_same(rule, other) for other in group["Permissions"]):
                continue  # the vendor accepts a rule that is there already and keeps the one there is
            rule |= {"SecurityGroupRuleId": self.new_id("sgr"), "CreateTime": moment(seconds=True)}
            group["Permissions"].append(rule)
        if len(group["Permissions"]) > MOST_RULES:
            raise ApiError(403, "AuthorizationLimitExceed", f"A security group has at most {MOST_RULES} rules.")
        self.collection("ecs.security_group").put(group["SecurityGroupId"], group)
        self.apply_ingress()
        return {}

    def _revoke(self, call: Call, direction: str) -> Reply:
        group = self.group(call.parameters["SecurityGroupId"])
        ids = call.list_parameter("SecurityGroupRuleId")
        known = {rule["SecurityGroupRuleId"] for rule in group["Permissions"] if rule["Direction"] == direction}
        for rule_id in ids:
            if rule_id not in known:
                raise ApiError(404, "InvalidSecurityGroupRuleId.NotFound", f"The rule {rule_id} does not exist.")
        gone = [] if ids else [self._rule(given, direction) for given in _given_rules(call)]
        group["Permissions"] = [
            rule
            for rule in group["Permissions"]
            if rule["SecurityGroupRuleId"] not in ids and not any(_same(rule, other) for other in gone)
        ]
        self.collection("ecs.security_group").put(group["SecurityGroupId"], group)
        self.apply_ingress()
        return {}

    def _modify(self, call: Call, direction: str) -> Reply:
        group = self.group(call.parameters["SecurityGroupId"])
        rule_id = call.parameters.get("SecurityGroupRuleId", "")
        for number, rule in enumerate(group["Permissions"]):
            if rule["Direction"] != direction:
                continue
            if rule_id and rule["SecurityGroupRuleId"] == rule_id:
                changed = self._rule({**rule, **call.parameters}, direction)
            elif not rule_id and _same(rule, self._rule(dict(call.parameters), direction)):
                changed = {**rule, "Description": call.parameters.get("Description", rule["Description"])}
            else:
                continue
            kept = {name: rule[name] for name in ("SecurityGroupRuleId", "CreateTime")}
            group["Permissions"][number] = changed | kept
            self.collection("ecs.security_group").put(group["SecurityGroupId"], group)
            self.apply_ingress()
            return {}
        raise ApiError(404, "InvalidSecurityGroupRule.RuleNotExist", "The specified rule does not exist.")

    def _rule(self, given: dict[str, Any], direction: str) -> Document:
        """A rule as it is kept, from what a call says.

        Raises:
            ApiError: a member is missing or wrong.
        """
        protocol = given.get("IpProtocol", "")
        if protocol.upper() not in _PROTOCOLS:
            raise ApiError(
                400, "InvalidIpProtocol.ValueNotSupported", f"IpProtocol must be one of {', '.join(_PROTOCOLS)}."
            )
        side = _SIDES[direction]
        block, peer = given.get(f"{side}CidrIp", ""), given.get(f"{side}GroupId", "")
        if bool(block) == bool(peer):
            raise ApiError(
                400, f"Missing{side}", f"Either {side}CidrIp or {side}GroupId is needed, and not both of them."
            )
        if block:
            block = _cidr(block, f"{side}CidrIp")
        else:
            self.group(peer)
        nic = choice(given, "NicType", ("intranet", "internet"), "intranet")
        return {
            "Direction": direction,
            "IpProtocol": protocol.upper(),
            "PortRange": _port_range(given.get("PortRange", ""), protocol.upper()),
            "SourcePortRange": given.get("SourcePortRange", ""),
            "NicType": nic,
            "Policy": choice(given, "Policy", ("Accept", "Drop"), "Accept"),
            "Priority": str(integer(given, "Priority", 1, 1, 100)),
            "Description": text_field(given, "Description", "Description", most=512),
            "SourceCidrIp": block if side == "Source" else "",
            "SourceGroupId": peer if side == "Source" else "",
            "SourceGroupOwnerAccount": "",
            "SourceGroupName": "",
            "SourcePrefixListId": "",
            "Ipv6SourceCidrIp": "",
            "DestCidrIp": block if side == "Dest" else "",
            "DestGroupId": peer if side == "Dest" else "",
            "DestGroupOwnerAccount": "",
            "DestGroupName": "",
            "DestPrefixListId": "",
            "Ipv6DestCidrIp": "",
        }

    def _group_described(self, group: Document) -> Reply:
        members = [
            i for i in self.collection("ecs.instance").values() if group["SecurityGroupId"] in i["SecurityGroupIds"]
        ]
        return {
            **{name: value for name, value in group.items() if name not in {"Permissions", "InnerAccessPolicy"}},
            "EcsCount": len(members),
            "RuleCount": len(group["Permissions"]),
            "ServiceManaged": False,
            "Tags": {"Tag": pairs(group["Tags"], "TagKey", "TagValue")},
        }


def _given_rules(call: Call) -> list[dict[str, Any]]:
    """The rules of a call: ``Permissions.N.*``, or one in the parameters themselves."""
    several: list[dict[str, Any]] = [dict(rule) for rule in call.structures("Permissions")]
    for rule in several:
        for name in rule:
            if name not in _RULE_PARAMETERS:
                raise ApiError(400, "InvalidParameter", f"The parameter Permissions.N.{name} is not supported.")
    return several or [dict(call.parameters)]


def _same(one: Document, other: Document) -> bool:
    return all(one[name] == other[name] for name in (*_KEY, *_PEERS))


def _cidr(text: str, name: str) -> str:
    try:
        block = IPv4Network(text)
    except ValueError:
        raise ApiError(400, f"Invalid{name}.Malformed", f"{name}: {text!r} is no IPv4 block.") from None
    return text if "/" not in text else str(block)


def _port_range(text: str, protocol: str) -> str:
    """``first/last``: 1 to 65535 for TCP and UDP, ``-1/-1`` for the others."""
    if protocol not in {"TCP", "UDP"}:
        if text not in {"", "-1/-1"}:
            raise ApiError(400, "InvalidPortRange.Malformed", f"PortRange must be -1/-1 for {protocol}.")
        return "-1/-1"
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 65535):
        raise ApiError(400, "InvalidPortRange.Malformed", f"PortRange must be first/last, 1 to 65535, not {text!r}.")
    return f"{int(first)}/{int(last)}"
