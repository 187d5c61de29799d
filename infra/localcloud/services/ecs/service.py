"""The ECS service: what its parts make together, with tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.ecs.key_pairs import KeyPairs
from infra.localcloud.services.ecs.offers import Offers
from infra.localcloud.services.vpc.conventions import TAGS, api, page, tagged
from infra.localcloud.services.vpc.tagging import Tagging
from infra.localcloud.store import Collection

CLOSE_SECONDS = 30.0
_KINDS = {
    "instance": "ecs.instance",
    "disk": "ecs.disk",
    "securitygroup": "ecs.security_group",
    "keypair": "ecs.key_pair",
}

_COUNTS = {"instance": "Instance", "disk": "Disk", "securitygroup": "Securitygroup", "keypair": "KeyPair"}


class EcsService(KeyPairs, Offers, Tagging):
    """ECS 2014-05-26: instances, their disks and interfaces, security groups, key pairs, instance roles."""

    name: ClassVar[str] = "ecs"
    versions: ClassVar[tuple[str, ...]] = ("2014-05-26",)
    kinds: ClassVar[Mapping[str, str]] = {
        "InstanceId": "instance",
        "SecurityGroupId": "securitygroup",
        "DiskId": "disk",
        "KeyPairName": "keypair",
        "NetworkInterfaceId": "eni",
    }
    too_many_tags: ClassVar[str] = "NumberExceed.Tags"
    hosts: ClassVar[tuple[str, ...]] = (r"ecs(-[a-z0-9-]+)?(\.[a-z0-9-]+)?\.aliyuncs\.com",)

    def start(self) -> None:
        """Takes instances up again where the local cloud ended."""
        self.take_up()

    def close(self) -> None:
        """Gives what is under way the time that a machine takes to stop; the rest is taken up at the next start."""
        self.settle(CLOSE_SECONDS)

    def inventory(self) -> list[str]:
        """Instances, security groups and key pairs; disks come and go with their instances."""
        return [
            *(f"instance {key}" for key in self.collection("ecs.instance").keys()),  # noqa: SIM118 - no dict
            *(f"security-group {key}" for key in self.collection("ecs.security_group").keys()),  # noqa: SIM118
            *(f"key-pair {key}" for key in self.collection("ecs.key_pair").keys()),  # noqa: SIM118
        ]

    @api("TagResources", required=("ResourceType", "ResourceId.*", "Tag.*"))
    def tag_resources(self, call: Call) -> Reply:
        """Sets tags."""
        return self.set_tags(call)

    @api("UntagResources", required=("ResourceType", "ResourceId.*"), optional=("TagKey.*", "All"))
    def untag_resources(self, call: Call) -> Reply:
        """Removes tags, all of them with ``All``."""
        return self.remove_tags(call)

    @api(
        "DescribeTags",
        optional=("ResourceType", "ResourceId", "PageNumber", "PageSize", *TAGS),
        note="deprecated by the vendor, and still asked by the provider; images have no tags",
    )
    def describe_tags(self, call: Call) -> Reply:
        """Lists tags with the number of resources that have them."""
        wanted, resource = call.parameters.get("ResourceType", ""), call.parameters.get("ResourceId", "")
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for name, collection in _KINDS.items():
            for key, document in self.collection(collection).items():
                if wanted in {"", name} and resource in {"", key} and tagged(document, call):
                    for tag in document["Tags"].items():
                        kinds = counts.setdefault(tag, {})
                        kinds[name] = kinds.get(name, 0) + 1
        rows = [
            {
                "TagKey": key,
                "TagValue": value,
                "ResourceTypeCount": {_COUNTS[name]: number for name, number in kinds.items()},
            }
            for (key, value), kinds in sorted(counts.items())
        ]
        shown, numbers = page(rows, {"PageSize": "50", **call.parameters})
        return {"Tags": {"Tag": shown}, **numbers}

    def tagged_kind(self, call: Call) -> Collection:
        """The collection of a resource type."""
        kind = _KINDS.get(call.parameters["ResourceType"].lower())
        if kind is None:
            raise ApiError(400, "InvalidResourceType.NotFound", f"ResourceType must be one of {', '.join(_KINDS)}.")
        return self.collection(kind)
