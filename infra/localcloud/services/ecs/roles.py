"""Instance roles: what an instance may do in the account, by the RAM role that it carries."""

from __future__ import annotations

from typing import Any

from infra.localcloud.policy import parse_policy, trusts
from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.ecs.security_groups import SecurityGroups
from infra.localcloud.services.ram import records
from infra.localcloud.services.vpc.conventions import api, json_list, page

SERVICE_NAME = "ecs.aliyuncs.com"
"""The principal that a role's trust policy must name for instances to carry it."""


class Roles(SecurityGroups):
    """Operations that attach roles to instances. The role's name is the instance document's ``RamRoleName``."""

    def role(self, name: str) -> str:
        """The name, when there is such a role and ECS may assume it.

        Raises:
            ApiError: ``InvalidRamRole.NotFound`` or ``InvalidRamRole.NotEcsRole``.
        """
        found = records.roles(self.cloud.store).get(name)
        if found is None:
            raise ApiError(404, "InvalidRamRole.NotFound", f"The specified RAM role {name} does not exist.")
        if not trusts(parse_policy(found["AssumeRolePolicyDocument"], trust=True), "Service", SERVICE_NAME):
            raise ApiError(
                400,
                "InvalidRamRole.NotEcsRole",
                f"The trust policy of the role {name} does not name {SERVICE_NAME}.",
            )
        return name

    @api("AttachInstanceRamRole", required=("InstanceIds", "RamRoleName"), note="no session policy")
    def attach_instance_ram_role(self, call: Call) -> Reply:
        """Gives instances a role."""
        name = self.role(call.parameters["RamRoleName"])
        results: list[dict[str, Any]] = []
        instances = self.collection("ecs.instance")
        for instance_id in json_list(call.parameters, "InstanceIds"):
            instance = instances.get(instance_id)
            code, message = "200", "success"
            if instance is None:
                code, message = "InvalidInstanceId.NotFound", "The specified instance does not exist."
            elif instance["RamRoleName"] not in {"", name}:
                code, message = "RamRole.AlreadyAttached", "The instance has another role already."
            else:
                instance["RamRoleName"] = name
                instances.put(instance_id, instance)
            results.append({"InstanceId": instance_id, "Success": code == "200", "Code": code, "Message": message})
        failed = sum(not result["Success"] for result in results)
        if failed and len(results) == 1:
            status = 404 if results[0]["Code"].endswith("NotFound") else 403
            raise ApiError(status, results[0]["Code"], results[0]["Message"])
        return {
            "RamRoleName": name,
            "TotalCount": len(results),
            "FailCount": failed,
            "AttachInstanceRamRoleResults": {"AttachInstanceRamRoleResult": results},
        }

    @api(
        "DescribeInstanceRamRole",
        optional=("InstanceIds", "RamRoleName", "PageNumber", "PageSize"),
    )
    def describe_instance_ram_role(self, call: Call) -> Reply:
        """Lists instances with their roles."""
        ids = json_list(call.parameters, "InstanceIds")
        role = call.parameters.get("RamRoleName", "")
        if not ids and not role:
            raise ApiError(400, "MissingParameter", "InstanceIds or RamRoleName is mandatory for this action.")
        rows = [
            {"InstanceId": instance["InstanceId"], "RamRoleName": instance["RamRoleName"]}
            for instance in self.collection("ecs.instance").values()
            if instance["RamRoleName"]
            and (not ids or instance["InstanceId"] in ids)
            and role in {"", instance["RamRoleName"]}
        ]
        shown, numbers = page(rows, call.parameters)
        return {
            "RegionId": self.cloud.region,
            "TotalCount": numbers["TotalCount"],
            "InstanceRamRoleSets": {"InstanceRamRoleSet": shown},
        }

    @api("DetachInstanceRamRole", required=("InstanceIds",), optional=("RamRoleName",))
    def detach_instance_ram_role(self, call: Call) -> Reply:
        """Takes roles away from instances."""
        role = call.parameters.get("RamRoleName", "")
        results: list[dict[str, Any]] = []
        instances = self.collection("ecs.instance")
        for instance_id in json_list(call.parameters, "InstanceIds"):
            instance = instances.get(instance_id)
            code, message = "200", "success"
            attached = instance["RamRoleName"] if instance else ""
            if instance is None:
                code, message = "InvalidInstanceId.NotFound", "The specified instance does not exist."
            elif role in {"", attached}:
                instance["RamRoleName"] = ""
                instances.put(instance_id, instance)
            results.append(
                {
                    "InstanceId": instance_id,
                    "Success": code == "200",
                    "Code": code,
                    "Message": message,
                    "InstanceRamRoleSets": {
                        "InstanceRamRoleSet": [{"InstanceId": instance_id, "RamRoleName": attached}]
                    },
                }
            )
        return {
            "RamRoleName": role,
            "TotalCount": len(results),
            "FailCount": sum(not result["Success"] for result in results),
            "DetachInstanceRamRoleResults": {"DetachInstanceRamRoleResult": results},
        }
