"""The ECS service: what its parts make together, with tags."""

from __future__ import annotations

from typing import ClassVar

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.ecs.key_pairs import KeyPairs
from infra.localcloud.services.ecs.offers import Offers
from infra.localcloud.services.vpc.conventions import MOST_TAGS, TAGS, api, boolean, page, tagged, tags
from infra.localcloud.store import Collection

_KINDS = {
    "instance": "ecs.instance",
    "disk": "ecs.disk",
    "securitygroup": "ecs.security_group",
    "keypair": "ecs.key_pair",
}


class EcsService(KeyPairs, Offers):
    """ECS 2014-05-26: instances, their disks and interfaces, security groups, key pairs, instance roles."""

    name: ClassVar[str] = "ecs"
    versions: ClassVar[tuple[str, ...]] = ("2014-05-26",)
    hosts: ClassVar[tuple[str, ...]] = (r"ecs(-[a-z0-9-]+)?(\.[a-z0-9-]+)?\.aliyuncs\.com",)

    def start(self) -> None:
        """Takes instances up again where the local cloud ended."""
        self.take_up()

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
        added, kind = tags(call), self._tagged_kind(call)
        for key in call.list_parameter("ResourceId"):
            document = kind.get(key)
            if document is None:
                raise ApiError(404, "InvalidResourceId.NotFound", f"The specified resource {key} does not exist.")
            document["Tags"] |= added
            if len(document["Tags"]) > MOST_TAGS:
                raise ApiError(400, "NumberExceed.Tags", f"{key} would have more than {MOST_TAGS} tags.")
            kind.put(key, document)
        return {}

    @api("UntagResources", required=("ResourceType", "ResourceId.*"), optional=("TagKey.*", "All"))
    def untag_resources(self, call: Call) -> Reply:
        """Removes tags, all of them with ``All``."""
        keys, kind = call.list_parameter("TagKey"), self._tagged_kind(call)
        everything = boolean(call.parameters, "All") and not keys
        for key in call.list_parameter("ResourceId"):
            document = kind.get(key)
            if document is None:
                raise ApiError(404, "InvalidResourceId.NotFound", f"The specified resource {key} does not exist.")
            document["Tags"] = {n: v for n, v in document["Tags"].items() if not everything and n not in keys}
            kind.put(key, document)
        return {}

    @api(
        "ListTagResources",
        required=("ResourceType",),
        optional=("ResourceId.*", "NextToken", "MaxResults", *TAGS),
    )
    def list_tag_resources(self, call: Call) -> Reply:
        """Lists resources with their tags."""
        ids = call.list_parameter("ResourceId")
        rows = [
            {"ResourceId": key, "ResourceType": call.parameters["ResourceType"], "TagKey": n, "TagValue": v}
            for key, document in self._tagged_kind(call).items()
            if (not ids or key in ids) and tagged(document, call)
            for n, v in sorted(document["Tags"].items())
        ]
        shown, numbers = page(rows, {"MaxResults": "50", **call.parameters})
        return {"TagResources": {"TagResource": shown}, "NextToken": numbers["NextToken"]}

    def _tagged_kind(self, call: Call) -> Collection:
        kind = _KINDS.get(call.parameters["ResourceType"].lower())
        if kind is None:
            raise ApiError(400, "InvalidResourceType.NotFound", f"ResourceType must be one of {', '.join(_KINDS)}.")
        return self.collection(kind)
