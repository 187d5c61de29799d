"""Operations on roles."""

from __future__ import annotations

from infra.localcloud.keys import revoke
from infra.localcloud.service import ApiError, Call, Reply, operation
from infra.localcloud.services.ram import records
from infra.localcloud.services.ram.conventions import (
    RamOperations,
    checked_name,
    checked_policy,
    new_id,
    now,
    page,
    tags,
)
from infra.localcloud.store import Document

_SESSION = range(3600, 43201)  # seconds


class RoleOperations(RamOperations):
    """Create, read, change and delete roles."""

    @operation(
        "CreateRole",
        required=("RoleName", "AssumeRolePolicyDocument"),
        optional=("Description", "MaxSessionDuration", "Tag", "Tag.*", "RegionId"),
    )
    def create_role(self, call: Call) -> Reply:
        """Creates a role."""
        name = checked_name(call, "RoleName")
        checked_policy(call.parameters["AssumeRolePolicyDocument"], trust=True)
        document: Document = {
            "RoleName": name,
            "RoleId": new_id(),
            "Arn": f"acs:ram::{self.cloud.account_id}:role/{name.lower()}",
            "Description": call.parameters.get("Description", ""),
            "AssumeRolePolicyDocument": call.parameters["AssumeRolePolicyDocument"],
            "MaxSessionDuration": _session(call.parameters.get("MaxSessionDuration") or "3600"),
            "CreateDate": now(),
            "UpdateDate": now(),
            "Tags": tags(call),
            "Attached": [],
            "AttachDates": {},
        }
        store = self.cloud.store
        with store.transaction():
            if any(known.lower() == name.lower() for known in records.roles(store).keys()):  # noqa: SIM118 - no dict
                raise ApiError(409, "EntityAlreadyExists.Role", f"The role already exists: {name}.")
            records.roles(store).put(name, document)
        return {"Role": _shown(document)}

    @operation("GetRole", required=("RoleName",), optional=("Language", "RegionId"))
    def get_role(self, call: Call) -> Reply:
        """Describes a role."""
        return {"Role": _shown(self.role(call.parameters["RoleName"]))}

    @operation("ListRoles", optional=("Marker", "MaxItems", "Tag", "Tag.*", "RegionId"))
    def list_roles(self, call: Call) -> Reply:
        """Lists the account's roles."""
        wanted = tags(call).items()
        rows = [
            {k: v for k, v in _shown(role).items() if k != "AssumeRolePolicyDocument"}
            for role in records.roles(self.cloud.store).values()
            if wanted <= role["Tags"].items()
        ]
        return page(call, "Roles", "Role", rows)

    @operation(
        "UpdateRole",
        required=("RoleName",),
        optional=("NewAssumeRolePolicyDocument", "NewDescription", "NewMaxSessionDuration", "RegionId"),
    )
    def update_role(self, call: Call) -> Reply:
        """Changes a role."""
        with self.cloud.store.transaction():
            document = self.role(call.parameters["RoleName"])
            if trust := call.parameters.get("NewAssumeRolePolicyDocument"):
                checked_policy(trust, trust=True)
                document["AssumeRolePolicyDocument"] = trust
            if "NewDescription" in call.parameters:
                document["Description"] = call.parameters["NewDescription"]
            if seconds := call.parameters.get("NewMaxSessionDuration"):
                document["MaxSessionDuration"] = _session(seconds)
            document["UpdateDate"] = now()
            records.roles(self.cloud.store).put(document["RoleName"], document)
        return {"Role": _shown(document)}

    @operation("DeleteRole", required=("RoleName",), optional=("RegionId",))
    def delete_role(self, call: Call) -> Reply:
        """Deletes a role that no policy is attached to; its temporary credentials end at once."""
        name = call.parameters["RoleName"]
        with self.cloud.store.transaction():
            if self.role(name)["Attached"]:
                raise ApiError(409, "DeleteConflict.Role.Policy", "The role cannot have any policies attached.")
            records.roles(self.cloud.store).delete(name)
            revoke(self.cloud.store, name)
        return {}


def _session(text: str) -> int:
    if not text.isdigit() or int(text) not in _SESSION:
        raise ApiError(
            400,
            "InvalidParameter.MaxSessionDuration",
            f"MaxSessionDuration must be {_SESSION.start} to {_SESSION.stop - 1} seconds.",
        )
    return int(text)


def _shown(document: Document) -> Reply:
    return {name: value for name, value in document.items() if name not in ("Tags", "Attached", "AttachDates")}
