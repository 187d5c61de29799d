"""Operations that attach policies to roles."""

from __future__ import annotations

from infra.localcloud.service import ApiError, Call, Reply, operation
from infra.localcloud.services.ram import records
from infra.localcloud.services.ram.conventions import RamOperations, now, policy_type

MOST_ATTACHED = 20
_NAMED = ("PolicyType", "PolicyName", "RoleName")


class AttachmentOperations(RamOperations):
    """Attach, list and detach."""

    @operation("AttachPolicyToRole", required=_NAMED, optional=("RegionId",))
    def attach_policy_to_role(self, call: Call) -> Reply:
        """Attaches a policy to a role."""
        entry = [policy_type(call), call.parameters["PolicyName"]]
        with self.cloud.store.transaction():
            role = self.role(call.parameters["RoleName"])
            if records.policy_document(self.cloud.store, *entry) is None:
                raise ApiError(404, "EntityNotExist.Policy", f"The policy does not exist: {entry[1]}.")
            if entry in role["Attached"]:
                raise ApiError(409, "EntityAlreadyExists.Role.Policy", "The policy is attached to the role already.")
            if len(role["Attached"]) >= MOST_ATTACHED:
                raise ApiError(409, "LimitExceeded.Role.Policy", f"A role has at most {MOST_ATTACHED} policies.")
            role["Attached"].append(entry)
            role["AttachDates"]["/".join(entry)] = now()
            records.roles(self.cloud.store).put(role["RoleName"], role)
        return {}

    @operation("DetachPolicyFromRole", required=_NAMED, optional=("RegionId",))
    def detach_policy_from_role(self, call: Call) -> Reply:
        """Detaches a policy from a role."""
        entry = [policy_type(call), call.parameters["PolicyName"]]
        with self.cloud.store.transaction():
            role = self.role(call.parameters["RoleName"])
            if entry not in role["Attached"]:
                raise ApiError(404, "EntityNotExist.Role.Policy", "The policy is not attached to the role.")
            role["Attached"].remove(entry)
            role["AttachDates"].pop("/".join(entry), None)
            records.roles(self.cloud.store).put(role["RoleName"], role)
        return {}

    @operation("ListPoliciesForRole", required=("RoleName",), optional=("Language", "RegionId"))
    def list_policies_for_role(self, call: Call) -> Reply:
        """Lists the policies attached to a role."""
        role = self.role(call.parameters["RoleName"])
        rows = [
            {
                "PolicyType": kind,
                "PolicyName": name,
                "DefaultVersion": self._default(kind, name),
                "AttachDate": role["AttachDates"][f"{kind}/{name}"],
            }
            for kind, name in role["Attached"]
        ]
        return {"Policies": {"Policy": rows}}

    @operation(
        "ListEntitiesForPolicy",
        required=("PolicyName", "PolicyType"),
        optional=("RegionId",),
        note="users and groups are always empty",
    )
    def list_entities_for_policy(self, call: Call) -> Reply:
        """Lists what a policy is attached to."""
        kind, name = policy_type(call), call.parameters["PolicyName"]
        if records.policy_document(self.cloud.store, kind, name) is None:
            raise ApiError(404, "EntityNotExist.Policy", f"The policy does not exist: {name}.")
        shown = ("RoleName", "RoleId", "Arn", "Description")
        rows = [{key: role[key] for key in shown} for role in self.attachments(kind, name)]
        return {"Roles": {"Role": rows}, "Users": {"User": []}, "Groups": {"Group": []}}

    def _default(self, kind: str, name: str) -> str:
        return "v1" if kind == "System" else str(records.default_version(self.policy(name))["VersionId"])
