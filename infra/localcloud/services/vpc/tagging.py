"""Tags as resources of several services bear them; each service names its kinds and its own codes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.vpc.conventions import MOST_TAGS, TAGS, RpcService, api, boolean, page, tagged, tags
from infra.localcloud.store import Collection, Document


class Tagging(RpcService):
    """Setting, removing and listing tags."""

    too_many_tags: ClassVar[str]  # the service's error code

    @abstractmethod
    def tagged_kind(self, call: Call) -> Collection:
        """The collection that ``ResourceType`` means.

        Raises:
            ApiError: the service has no such kind, in its own words.
        """

    def set_tags(self, call: Call) -> Reply:
        """``TagResources``: adds tags to the resources that are named."""
        added, kind = tags(call), self.tagged_kind(call)
        for key, document in _named(kind, call):
            document["Tags"] |= added
            if len(document["Tags"]) > MOST_TAGS:
                raise ApiError(400, self.too_many_tags, f"{key} would have more than {MOST_TAGS} tags.")
            kind.put(key, document)
        return {}

    def remove_tags(self, call: Call) -> Reply:
        """``UntagResources``, which each service spells in its own way: all tags with ``All``."""
        keys, kind = call.list_parameter("TagKey"), self.tagged_kind(call)
        everything = boolean(call.parameters, "All") and not keys
        for key, document in _named(kind, call):
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
            for key, document in self.tagged_kind(call).items()
            if (not ids or key in ids) and tagged(document, call)
            for n, v in sorted(document["Tags"].items())
        ]
        shown, numbers = page(rows, {"MaxResults": "50", **call.parameters})
        return {"TagResources": {"TagResource": shown}, "NextToken": numbers["NextToken"]}


def _named(kind: Collection, call: Call) -> Iterator[tuple[str, Document]]:
    """The resources that ``ResourceId`` names; one that isn't there ends it with an error."""
    for key in call.list_parameter("ResourceId"):
        document = kind.get(key)
        if document is None:
            raise ApiError(404, "InvalidResourceId.NotFound", f"The specified resource {key} does not exist.")
        yield key, document
