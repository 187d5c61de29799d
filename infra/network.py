"""The network: one VPC, a switch a zone, a security group a role, closed but for what the pipeline uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_alicloud as alicloud

from infra import settings


@dataclass(frozen=True)
class Opening:
    """Who may reach a port of a role's instances: other roles by name, or address blocks."""

    role: str
    port: int
    from_roles: Sequence[str] = ()
    from_cidrs: Sequence[str] = ()


@dataclass(frozen=True)
class NetworkArgs:
    """The network's configuration and every opening in it."""

    prefix: str
    network: settings.Network
    openings: Sequence[Opening]


def openings(network: settings.Network) -> list[Opening]:
    """All that is open in the pipeline; the policy pack refuses anything else."""
    operators, clients = network.operator_cidrs, network.client_cidrs
    return [
        Opening("inference", 8443, from_roles=["search", "recommendation"], from_cidrs=operators),
        Opening("search", 9200, from_roles=["recommendation"], from_cidrs=operators),
        Opening("search", 9300, from_roles=["search"]),
        Opening("recommendation", 8080, from_cidrs=sorted({*operators, *clients})),
    ]


class Network(pulumi.ComponentResource):
    """VPC, switches and security groups; `security_groups` holds the groups' ids by role."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ragrec:network:Network", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        vpc = alicloud.vpc.Network("vpc", vpc_name=args.prefix, cidr_block=args.network.cidr, opts=child)
        self.switches = [
            alicloud.vpc.Switch(
                f"switch-{index}",
                vpc_id=vpc.id,
                vswitch_name=f"{args.prefix}-{zone}",
                zone_id=zone,
                cidr_block=args.network.zone_block(index),
                opts=child,
            )
            for index, zone in enumerate(args.network.zones)
        ]
        self.security_groups: Mapping[str, alicloud.ecs.SecurityGroup] = {
            role: alicloud.ecs.SecurityGroup(
                role,
                security_group_name=f"{args.prefix}-{role}",
                vpc_id=vpc.id,
                # Instances of one role reach each other through an opening, too, not by default.
                inner_access_policy="Drop",
                opts=child,
            )
            for role in sorted({opening.role for opening in args.openings})
        }
        self.rules = [rule for opening in args.openings for rule in self._rules(opening, child)]
        self.register_outputs({"vpc": vpc.id})

    def _rules(self, opening: Opening, opts: pulumi.ResourceOptions) -> list[alicloud.ecs.SecurityGroupRule]:
        def rule(
            name: str, *, group: pulumi.Input[str] | None = None, cidr: str | None = None
        ) -> alicloud.ecs.SecurityGroupRule:
            return alicloud.ecs.SecurityGroupRule(
                f"{opening.role}-{opening.port}-from-{name}",
                type="ingress",
                ip_protocol="tcp",
                nic_type="intranet",
                policy="accept",
                port_range=f"{opening.port}/{opening.port}",
                security_group_id=self.security_groups[opening.role].id,
                source_security_group_id=group,
                cidr_ip=cidr,
                opts=opts,
            )

        return [
            *(rule(role, group=self.security_groups[role].id) for role in opening.from_roles),
            *(rule(cidr.replace("/", "-"), cidr=cidr) for cidr in opening.from_cidrs),
        ]
