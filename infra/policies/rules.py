"""The rules themselves: pure functions of a resource's properties that return what is wrong, in words.

The components call them before a resource is declared, the policy pack on whatever a program declares.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

Properties = Mapping[str, Any]

# What a credential looks like in clear text: access keys, private keys, assigned passwords and tokens.
_SECRET = re.compile(
    r"LTAI[0-9A-Za-z]{12,}|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"
    r"|(?i:password|secret|token)[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9+/_-]{16,}"
)


def ingress_rule(properties: Properties) -> list[str]:
    """A security group rule lets in one TCP port from named networks or groups."""
    if properties.get("type") != "ingress" or properties.get("policy", "accept") != "accept":
        return []
    problems = []
    if cidr := properties.get("cidrIp"):
        network = ipaddress.ip_network(cidr, strict=False)
        if network.prefixlen == 0:
            problems.append(f"cidrIp {cidr} lets everyone in; name the networks that need it")
    if properties.get("ipProtocol") != "tcp":
        problems.append(f"ipProtocol is {properties.get('ipProtocol')}; the pipeline speaks tcp only")
    first, _, last = str(properties.get("portRange", "")).partition("/")
    if not first or first != last:
        problems.append(f"portRange {properties.get('portRange')} is not one port")
    return problems


def instance(properties: Properties) -> list[str]:
    """An instance has no public address, a hardened metadata service, an encrypted disk, no secret in user data."""
    problems = []
    if properties.get("internetMaxBandwidthOut"):
        problems.append("internetMaxBandwidthOut gives it a public address; come in through the VPC")
    if properties.get("httpTokens") != "required":
        problems.append("httpTokens must be required: the metadata service hands out the role's credentials")
    if properties.get("systemDiskEncrypted") is not True:
        problems.append("systemDiskEncrypted must be true")
    if isinstance(text := properties.get("userData"), str) and (found := _SECRET.search(text)):
        problems.append(f"userData holds a secret near {found[0][:12]!r}; fetch it with the instance's role")
    return problems


def bucket_acl(properties: Properties) -> list[str]:
    """A bucket is private."""
    acl = properties.get("acl")
    return [] if acl in (None, "private") else [f"acl is {acl}; it must be private"]


def ram_policy(properties: Properties) -> list[str]:
    """A policy grants named actions on named resources."""
    text = properties.get("policyDocument")
    if not isinstance(text, str):
        return []
    problems = []
    for statement in json.loads(text)["Statement"]:
        if statement["Effect"] != "Allow":
            continue
        for action in _several(statement["Action"]):
            if action == "*" or action.endswith(":*"):
                problems.append(f"action {action} grants more than anything here needs")
        problems += ["resource * grants the whole account" for r in _several(statement["Resource"]) if r == "*"]
    return problems


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def hybrid_weights(bm25_weight: float, vector_weight: float) -> list[str]:
    """Weights are finite, not negative, and sum to 1."""
    problems = []
    for name, value in (("bm25Weight", bm25_weight), ("vectorWeight", vector_weight)):
        if not math.isfinite(value) or value < 0:
            problems.append(f"{name} is {value}; a weight is a number of at least 0")
    total = bm25_weight + vector_weight
    if not problems and abs(total - 1) > 1e-6:
        problems.append(f"bm25Weight + vectorWeight is {total:g}; the weights must sum to 1")
    return problems


def exposed_buckets(resources: Iterable[tuple[str, Properties]]) -> list[str]:
    """Every bucket of a stack is encrypted and blocks public access: ``(type, properties)`` of all its resources."""
    encrypted: dict[str, bool] = {}
    blocked: set[str] = set()
    for kind, properties in resources:
        name = properties.get("bucket")
        if not isinstance(name, str):
            continue  # unknown in a preview: judged by the update
        if kind == "alicloud:oss/bucket:Bucket":
            encrypted[name] = bool(properties.get("serverSideEncryptionRule"))
        if kind == "alicloud:oss/bucketPublicAccessBlock:BucketPublicAccessBlock":
            blocked.add(name)
    return [
        *(
            f"bucket {name} is not encrypted: set serverSideEncryptionRule"
            for name, is_ in encrypted.items()
            if not is_
        ),
        *(f"bucket {name} has no BucketPublicAccessBlock" for name in encrypted if name not in blocked),
    ]
