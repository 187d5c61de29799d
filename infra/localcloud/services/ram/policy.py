"""Operations on policies and their versions."""

from __future__ import annotations

from infra.localcloud.service import ApiError, Call, Reply, operation
from infra.localcloud.services.ram import records
from infra.localcloud.services.ram.conventions import (
    RamOperations,
    checked_name,
    checked_policy,
    now,
    page,
    policy_type,
    tags,
)
from infra.localcloud.services.ram.system_policies import SYSTEM_POLICIES
from infra.localcloud.store import Document

MOST_VERSIONS = 5
SYSTEM_DATE = "2015-04-28T18:57:11Z"  # when the vendor made its own policies


class PolicyOperations(RamOperations):
    """Create, read, version and delete policies."""

    @operation(
        "CreatePolicy",
        required=("PolicyName", "PolicyDocument"),
        optional=("Description", "Tag", "Tag.*", "RegionId"),
    )
    def create_policy(self, call: Call) -> Reply:
        """Creates a custom policy."""
        name = checked_name(call, "PolicyName")
        checked_policy(call.parameters["PolicyDocument"])
        document: Document = {
            "PolicyName": name,
            "Description": call.parameters.get("Description", ""),
            "CreateDate": now(),
            "UpdateDate": now(),
            "Tags": tags(call),
            "LastVersion": 1,
            "versions": [_version(1, call.parameters["PolicyDocument"])],
        }
        store = self.cloud.store
        with store.transaction():
            taken = [*records.policies(store).keys(), *SYSTEM_POLICIES]
            if name.lower() in (known.lower() for known in taken):
                raise ApiError(409, "EntityAlreadyExists.Policy", f"The policy already exists: {name}.")
            records.policies(store).put(name, document)
        return {"Policy": self._shown(document)}

    @operation("GetPolicy", required=("PolicyName", "PolicyType"), optional=("Language", "RegionId"))
    def get_policy(self, call: Call) -> Reply:
        """Describes a policy with the version in force."""
        name = call.parameters["PolicyName"]
        if policy_type(call) == "Custom":
            document = self.policy(name)
            return {"Policy": self._shown(document), "DefaultPolicyVersion": records.default_version(document)}
        if name not in SYSTEM_POLICIES:
            raise ApiError(404, "EntityNotExist.Policy", f"The policy does not exist: {name}.")
        return {"Policy": self._system(name), "DefaultPolicyVersion": _system_version(name)}

    @operation("ListPolicies", optional=("PolicyType", "Marker", "MaxItems", "Language", "Tag", "Tag.*", "RegionId"))
    def list_policies(self, call: Call) -> Reply:
        """Lists custom and system policies."""
        wanted = policy_type(call) if call.parameters.get("PolicyType") else ""
        rows: list[Reply] = []
        if wanted != "System":
            filters = tags(call).items()
            rows += [
                self._shown(p) for p in records.policies(self.cloud.store).values() if filters <= p["Tags"].items()
            ]
        if wanted != "Custom" and not tags(call):
            rows += [self._system(name) for name in sorted(SYSTEM_POLICIES)]
        return page(call, "Policies", "Policy", rows)

    @operation(
        "DeletePolicy", required=("PolicyName",), optional=("CascadingDelete", "RegionId"), note="versions go with it"
    )
    def delete_policy(self, call: Call) -> Reply:
        """Deletes a custom policy that is attached to nothing."""
        name = call.parameters["PolicyName"]
        cascading = call.parameters.get("CascadingDelete", "").lower() == "true"
        with self.cloud.store.transaction():
            document = self.policy(name)
            if self.attachments("Custom", name):
                raise ApiError(
                    409,
                    "DeleteConflict.Policy.Role",
                    "The policy is attached to a role; detach it before the delete.",
                )
            if len(document["versions"]) > 1 and not cascading:
                raise ApiError(
                    409, "DeleteConflict.Policy.Version", "The policy has versions besides the default one."
                )
            records.policies(self.cloud.store).delete(name)
        return {}

    @operation("UpdatePolicyDescription", required=("PolicyName", "NewDescription"), optional=("RegionId",))
    def update_policy_description(self, call: Call) -> Reply:
        """Changes a policy's description."""
        with self.cloud.store.transaction():
            document = self.policy(call.parameters["PolicyName"])
            document |= {"Description": call.parameters["NewDescription"], "UpdateDate": now()}
            records.policies(self.cloud.store).put(document["PolicyName"], document)
        return {"Policy": self._shown(document)}

    @operation(
        "CreatePolicyVersion",
        required=("PolicyName", "PolicyDocument"),
        optional=("SetAsDefault", "RotateStrategy", "RegionId"),
    )
    def create_policy_version(self, call: Call) -> Reply:
        """Adds a version, in force at once with ``SetAsDefault``."""
        checked_policy(call.parameters["PolicyDocument"])
        rotate = call.parameters.get("RotateStrategy", "None")
        if rotate not in ("None", "DeleteOldestNonDefaultVersionWhenLimitExceeded"):
            raise ApiError(400, "InvalidParameter.RotateStrategy", f"RotateStrategy {rotate} is not known.")
        with self.cloud.store.transaction():
            document = self.policy(call.parameters["PolicyName"])
            if len(document["versions"]) >= MOST_VERSIONS:
                if rotate == "None":
                    raise ApiError(
                        409, "LimitExceeded.Policy.Version", f"A policy has at most {MOST_VERSIONS} versions."
                    )
                oldest = next(version for version in document["versions"] if not version["IsDefaultVersion"])
                document["versions"].remove(oldest)
            document["LastVersion"] += 1
            created = _version(document["LastVersion"], call.parameters["PolicyDocument"])
            document["versions"].append(created | {"IsDefaultVersion": False})
            if call.parameters.get("SetAsDefault", "").lower() == "true":
                _set_default(document, created["VersionId"])
            document["UpdateDate"] = now()
            records.policies(self.cloud.store).put(document["PolicyName"], document)
        return {"PolicyVersion": document["versions"][-1]}

    @operation("GetPolicyVersion", required=("PolicyName", "PolicyType", "VersionId"), optional=("RegionId",))
    def get_policy_version(self, call: Call) -> Reply:
        """Describes one version."""
        name = call.parameters["PolicyName"]
        if policy_type(call) == "System":
            known = [_system_version(name)] if name in SYSTEM_POLICIES else []
        else:
            known = self.policy(name)["versions"]
        for version in known:
            if version["VersionId"] == call.parameters["VersionId"]:
                return {"PolicyVersion": version}
        raise ApiError(404, "EntityNotExist.Policy.Version", "The policy version does not exist.")

    @operation("ListPolicyVersions", required=("PolicyName", "PolicyType"), optional=("Language", "RegionId"))
    def list_policy_versions(self, call: Call) -> Reply:
        """Lists a policy's versions."""
        name = call.parameters["PolicyName"]
        if policy_type(call) == "Custom":
            return {"PolicyVersions": {"PolicyVersion": self.policy(name)["versions"]}}
        if name not in SYSTEM_POLICIES:
            raise ApiError(404, "EntityNotExist.Policy", f"The policy does not exist: {name}.")
        return {"PolicyVersions": {"PolicyVersion": [_system_version(name)]}}

    @operation("SetDefaultPolicyVersion", required=("PolicyName", "VersionId"), optional=("RegionId",))
    def set_default_policy_version(self, call: Call) -> Reply:
        """Puts a version in force."""
        with self.cloud.store.transaction():
            document = self.policy(call.parameters["PolicyName"])
            _set_default(document, call.parameters["VersionId"])
            records.policies(self.cloud.store).put(document["PolicyName"], document)
        return {}

    @operation("DeletePolicyVersion", required=("PolicyName", "VersionId"), optional=("RegionId",))
    def delete_policy_version(self, call: Call) -> Reply:
        """Deletes a version that isn't in force."""
        wanted = call.parameters["VersionId"]
        with self.cloud.store.transaction():
            document = self.policy(call.parameters["PolicyName"])
            kept = [version for version in document["versions"] if version["VersionId"] != wanted]
            if len(kept) == len(document["versions"]):
                raise ApiError(404, "EntityNotExist.Policy.Version", "The policy version does not exist.")
            if records.default_version(document)["VersionId"] == wanted:
                raise ApiError(409, "DeleteConflict.PolicyVersion.Default", "The default version can't be deleted.")
            document["versions"] = kept
            records.policies(self.cloud.store).put(document["PolicyName"], document)
        return {}

    def _shown(self, document: Document) -> Reply:
        return {
            "PolicyName": document["PolicyName"],
            "PolicyType": "Custom",
            "Description": document["Description"],
            "DefaultVersion": records.default_version(document)["VersionId"],
            "AttachmentCount": len(self.attachments("Custom", document["PolicyName"])),
            "CreateDate": document["CreateDate"],
            "UpdateDate": document["UpdateDate"],
        }

    def _system(self, name: str) -> Reply:
        return {
            "PolicyName": name,
            "PolicyType": "System",
            "Description": "",
            "DefaultVersion": "v1",
            "AttachmentCount": len(self.attachments("System", name)),
            "CreateDate": SYSTEM_DATE,
            "UpdateDate": SYSTEM_DATE,
        }


def _version(number: int, text: str) -> Document:
    return {"VersionId": f"v{number}", "IsDefaultVersion": True, "PolicyDocument": text, "CreateDate": now()}


def _system_version(name: str) -> Document:
    return _version(1, SYSTEM_POLICIES[name]) | {"CreateDate": SYSTEM_DATE}


def _set_default(document: Document, version_id: str) -> None:
    if version_id not in (version["VersionId"] for version in document["versions"]):
        raise ApiError(404, "EntityNotExist.Policy.Version", "The policy version does not exist.")
    for version in document["versions"]:
        version["IsDefaultVersion"] = version["VersionId"] == version_id
