"""Operations on the tags of roles and policies."""

from __future__ import annotations

from infra.localcloud.service import ApiError, Call, Reply, operation
from infra.localcloud.services.ram import records
from infra.localcloud.services.ram.conventions import MOST_TAGS, RamOperations, names, tags
from infra.localcloud.store import Collection, Document

_NAMES = ("ResourceNames", "ResourceNames.*")


class TagOperations(RamOperations):
    """Set, remove and list tags."""

    @operation("TagResources", required=("ResourceType",), optional=(*_NAMES, "Tag", "Tag.*", "RegionId"))
    def tag_resources(self, call: Call) -> Reply:
        """Sets tags."""
        added = tags(call)
        with self.cloud.store.transaction():
            for key, document in self._named(call):
                document["Tags"] |= added
                if len(document["Tags"]) > MOST_TAGS:
                    raise ApiError(
                        400, "QuotaExceeded.TagsPerResource", f"{key} would have more than {MOST_TAGS} tags."
                    )
                self._kind(call).put(key, document)
        return {}

    @operation(
        "UntagResources",
        required=("ResourceType",),
        optional=(*_NAMES, "TagKeys", "TagKeys.*", "TagKey.*", "All", "RegionId"),
    )
    def untag_resources(self, call: Call) -> Reply:
        """Removes tags, all of them with ``All``."""
        removed = names(call, "TagKeys") or call.list_parameter("TagKey")  # the provider sends both
        everything = call.parameters.get("All", "").lower() == "true" and not removed
        with self.cloud.store.transaction():
            for key, document in self._named(call):
                kept = {k: v for k, v in document["Tags"].items() if not everything and k not in removed}
                self._kind(call).put(key, document | {"Tags": kept})
        return {}

    @operation(
        "ListTagResources",
        required=("ResourceType",),
        optional=(*_NAMES, "Tag", "Tag.*", "NextToken", "PageSize", "RegionId"),
        note="one page",
    )
    def list_tag_resources(self, call: Call) -> Reply:
        """Lists tags with the resources that have them."""
        named = self._named(call) if names(call, "ResourceNames") else self._kind(call).items()
        wanted = tags(call)
        rows = [
            {"ResourceType": call.parameters["ResourceType"], "ResourceName": key, "TagKey": name, "TagValue": value}
            for key, document in named
            for name, value in sorted(document["Tags"].items())
            if not wanted or wanted.get(name) in ("", value)
        ]
        return {"TagResources": rows}

    def _kind(self, call: Call) -> Collection:
        kinds = {"role": records.roles(self.cloud.store), "policy": records.policies(self.cloud.store)}
        kind = kinds.get(call.parameters["ResourceType"].lower())
        if kind is None:
            raise ApiError(400, "InvalidParameter.ResourceType", "ResourceType must be role or policy.")
        return kind

    def _named(self, call: Call) -> list[tuple[str, Document]]:
        kind = self._kind(call)
        found = [(name, kind.get(name)) for name in names(call, "ResourceNames")]
        for name, document in found:
            if document is None:
                raise ApiError(404, "InvalidResourceId.NotFound", f"The specified resource {name} does not exist.")
        return [(name, document) for name, document in found if document is not None]
