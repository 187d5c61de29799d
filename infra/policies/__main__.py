"""The policy pack: ``pulumi preview --policy-pack infra/policies``."""

from __future__ import annotations

from collections.abc import Callable

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from infra.policies import rules


def _resource(
    name: str, description: str, kind: str, rule: Callable[[rules.Properties], list[str]]
) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report_violation: ReportViolation) -> None:
        if args.resource_type == kind:
            for problem in rule(args.props):
                report_violation(f"{args.name}: {problem}", None)

    return ResourceValidationPolicy(name, description, validate, EnforcementLevel.MANDATORY)


def _weights(properties: rules.Properties) -> list[str]:
    return rules.hybrid_weights(float(properties["bm25_weight"]), float(properties["vector_weight"]))


def _buckets(args: StackValidationArgs, report_violation: ReportViolation) -> None:
    for problem in rules.exposed_buckets((resource.resource_type, resource.props) for resource in args.resources):
        report_violation(problem, None)


POLICIES: list[Policy] = [
    _resource(
        "named-sources",
        "Security groups open single ports to named sources.",
        "alicloud:ecs/securityGroupRule:SecurityGroupRule",
        rules.ingress_rule,
    ),
    _resource(
        "hardened-instances",
        "Instances have no public address, hardened metadata, encrypted disks and no secret in user data.",
        "alicloud:ecs/instance:Instance",
        rules.instance,
    ),
    _resource("private-buckets", "Buckets are private.", "alicloud:oss/bucketAcl:BucketAcl", rules.bucket_acl),
    _resource("least-privilege", "RAM policies grant what is named.", "alicloud:ram/policy:Policy", rules.ram_policy),
    _resource(
        "hybrid-weights",
        "Hybrid weights are not negative and sum to 1.",
        "pulumi-python:dynamic/ragrec:HybridWeights",
        _weights,
    ),
    StackValidationPolicy(
        "guarded-buckets", "Every bucket is encrypted and blocks public access.", _buckets, EnforcementLevel.MANDATORY
    ),
]

PolicyPack("ragrec", POLICIES)
