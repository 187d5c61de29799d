"""What can be changed about an instance, and its smaller describes."""

from __future__ import annotations

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.ecs.instance import host_name, interface, user_data
from infra.localcloud.services.ecs.instances import Instances
from infra.localcloud.services.vpc.conventions import (
    TAGS,
    api,
    boolean,
    choice,
    integer,
    json_list,
    page,
    text_field,
)
from infra.localcloud.services.vpc.eip import free_public_address
from infra.localcloud.store import Document


class Attributes(Instances):
    """Operations that change instances or tell one side of them."""

    @api(
        "ModifyInstanceAttribute",
        required=("InstanceId",),
        optional=("InstanceName", "Description", "HostName", "UserData", "DeletionProtection", "SecurityGroupIds.*"),
        token=True,
        note="user data and host name take effect at the next start, as on the cloud; no passwords",
    )
    def modify_instance_attribute(self, call: Call) -> Reply:
        """Changes name, description, host name, user data, deletion protection or security groups."""
        values = call.parameters
        instance = self.instance(values["InstanceId"])
        if "InstanceName" in values:
            instance["InstanceName"] = text_field(values, "InstanceName", "InstanceName", least=2)
        if "Description" in values:
            instance["Description"] = text_field(values, "Description", "Description", least=2, most=256)
        if "HostName" in values:
            instance["HostName"] = host_name(values["HostName"], instance["InstanceId"])
        if "UserData" in values:
            instance["UserData"] = user_data(values["UserData"])
        if "DeletionProtection" in values:
            instance["DeletionProtection"] = boolean(values, "DeletionProtection")
        if groups := call.list_parameter("SecurityGroupIds"):
            instance["SecurityGroupIds"] = self.groups_of_network(groups, instance["VpcId"])
        self._put(instance)
        self.apply_ingress()
        return {}

    @api("DescribeUserData", required=("InstanceId",))
    def describe_user_data(self, call: Call) -> Reply:
        """The user data, in base64."""
        instance = self.instance(call.parameters["InstanceId"])
        return {
            "InstanceId": instance["InstanceId"],
            "RegionId": self.cloud.region,
            "UserData": instance["UserData"],
        }

    @api("JoinSecurityGroup", required=("SecurityGroupId", "InstanceId"))
    def join_security_group(self, call: Call) -> Reply:
        """Adds an instance to a group."""
        instance = self.instance(call.parameters["InstanceId"])
        group_id = call.parameters["SecurityGroupId"]
        if group_id in instance["SecurityGroupIds"]:
            raise ApiError(403, "InvalidInstanceId.AlreadyExists", f"The instance is a member of {group_id} already.")
        instance["SecurityGroupIds"] = self.groups_of_network(
            [*instance["SecurityGroupIds"], group_id], instance["VpcId"]
        )
        self._put(instance)
        self.apply_ingress()
        return {}

    @api("LeaveSecurityGroup", required=("SecurityGroupId", "InstanceId"))
    def leave_security_group(self, call: Call) -> Reply:
        """Takes an instance out of a group, not out of its last one."""
        instance = self.instance(call.parameters["InstanceId"])
        group_id = self.group(call.parameters["SecurityGroupId"])["SecurityGroupId"]
        if group_id not in instance["SecurityGroupIds"]:
            raise ApiError(403, "InstanceNotInSecurityGroup", f"The instance is no member of {group_id}.")
        if len(instance["SecurityGroupIds"]) == 1:
            raise ApiError(
                403, "InstanceLastSecurityGroup", f"{group_id} is the last security group of the instance."
            )
        instance["SecurityGroupIds"].remove(group_id)
        self._put(instance)
        self.apply_ingress()
        return {}

    @api(
        "ModifyInstanceSpec",
        required=("InstanceId",),
        optional=(
            "InstanceType",
            "InternetMaxBandwidthOut",
            "InternetMaxBandwidthIn",
            "Async",
            "AllowMigrateAcrossZone",
        ),
        token=True,
    )
    def modify_instance_spec(self, call: Call) -> Reply:
        """Changes the type of a stopped instance."""
        instance = self.instance(call.parameters["InstanceId"])
        if kind := call.parameters.get("InstanceType"):
            self.stopped(instance)
            instance["InstanceType"] = self.instance_type(kind)
        self._bandwidth(instance, call)
        self._put(instance)
        return {}

    @api(
        "ModifyInstanceNetworkSpec",
        required=("InstanceId",),
        optional=("InternetMaxBandwidthOut", "InternetMaxBandwidthIn", "NetworkChargeType", "AllocatePublicIp"),
        token=True,
    )
    def modify_instance_network_spec(self, call: Call) -> Reply:
        """Changes bandwidth; the first that is over zero brings a public address."""
        instance = self.instance(call.parameters["InstanceId"])
        instance["InternetChargeType"] = choice(
            call.parameters,
            "NetworkChargeType",
            ("PayByTraffic", "PayByBandwidth"),
            instance["InternetChargeType"],
        )
        self._bandwidth(instance, call)
        self._put(instance)
        return {}

    @api(
        "ModifyInstanceVpcAttribute",
        required=("InstanceId", "VSwitchId"),
        optional=("PrivateIpAddress",),
        note="within the VPC",
    )
    def modify_instance_vpc_attribute(self, call: Call) -> Reply:
        """Changes vSwitch and private address of a stopped instance."""
        values = call.parameters
        instance = self.instance(values["InstanceId"])
        self.stopped(instance)
        switch = self.collection("vpc.vswitch").get(values["VSwitchId"])
        if switch is None or switch["VpcId"] != instance["VpcId"]:
            raise ApiError(
                404, "InvalidVSwitchId.NotFound", f"The vSwitch {values['VSwitchId']} is not in {instance['VpcId']}."
            )
        if switch["ZoneId"] != instance["ZoneId"]:
            raise ApiError(
                403, "OperationDenied", f"The vSwitch must be in the instance's zone {instance['ZoneId']}."
            )
        instance["PrivateIpAddress"] = self.address(
            switch, values.get("PrivateIpAddress", ""), own=instance["InstanceId"]
        )
        instance["VSwitchId"] = switch["VSwitchId"]
        self._put(instance)
        self.apply_ingress()
        return {}

    @api(
        "ModifyInstanceMetadataOptions",
        required=("InstanceId", "HttpEndpoint"),
        optional=("HttpTokens", "HttpPutResponseHopLimit"),
    )
    def modify_instance_metadata_options(self, call: Call) -> Reply:
        """Changes how the metadata service answers."""
        instance = self.instance(call.parameters["InstanceId"])
        options = instance["MetadataOptions"]
        options["HttpEndpoint"] = choice(call.parameters, "HttpEndpoint", ("enabled", "disabled"))
        options["HttpTokens"] = choice(call.parameters, "HttpTokens", ("optional", "required"), options["HttpTokens"])
        options["HttpPutResponseHopLimit"] = integer(
            call.parameters, "HttpPutResponseHopLimit", options["HttpPutResponseHopLimit"], 1, 64
        )
        self._put(instance)
        return {}

    @api(
        "DescribeInstanceMaintenanceAttributes",
        optional=("InstanceId.*", "PageNumber", "PageSize"),
    )
    def describe_instance_maintenance_attributes(self, call: Call) -> Reply:
        """Lists what is to happen at maintenance."""
        ids = call.list_parameter("InstanceId")
        rows = [
            {
                "InstanceId": instance["InstanceId"],
                "MaintenanceWindows": {"MaintenanceWindow": instance["Maintenance"]["Windows"]},
                "ActionOnMaintenance": {
                    "Value": instance["Maintenance"]["Action"],
                    "DefaultValue": "AutoRecover",
                    "SupportedValues": {"SupportedValue": ["Stop", "AutoRecover", "AutoRedeploy"]},
                },
                "NotifyOnMaintenance": instance["Maintenance"]["Notify"],
            }
            for instance in self.collection("ecs.instance").values()
            if not ids or instance["InstanceId"] in ids
        ]
        shown, numbers = page(rows, call.parameters)
        return {"MaintenanceAttributes": {"MaintenanceAttribute": shown}, **numbers}

    @api(
        "ModifyInstanceMaintenanceAttributes",
        required=("InstanceId.*",),
        optional=("MaintenanceWindow.*", "ActionOnMaintenance", "NotifyOnMaintenance"),
        note="recorded; the local cloud has no maintenance",
    )
    def modify_instance_maintenance_attributes(self, call: Call) -> Reply:
        """Changes what is to happen at maintenance."""
        for instance_id in call.list_parameter("InstanceId"):
            instance = self.instance(instance_id)
            kept = instance["Maintenance"]
            if windows := call.structures("MaintenanceWindow"):
                kept["Windows"] = windows
            kept["Action"] = choice(
                call.parameters, "ActionOnMaintenance", ("Stop", "AutoRecover", "AutoRedeploy"), kept["Action"]
            )
            kept["Notify"] = boolean(call.parameters, "NotifyOnMaintenance", default=kept["Notify"])
            self._put(instance)
        return {}

    @api(
        "DescribeInstanceAttachmentAttributes",
        required=("InstanceIds",),
        optional=("PageNumber", "PageSize"),
        note="no private pools",
    )
    def describe_instance_attachment_attributes(self, call: Call) -> Reply:
        """Lists the private pools of instances: none."""
        rows = [
            {
                "InstanceId": self.instance(instance_id)["InstanceId"],
                "PrivatePoolOptionsMatchCriteria": "None",
                "PrivatePoolOptionsId": "",
            }
            for instance_id in json_list(call.parameters, "InstanceIds")
        ]
        shown, numbers = page(rows, call.parameters)
        return {"Instances": {"Instance": shown}, **numbers}

    @api(
        "DescribeNetworkInterfaces",
        optional=(
            "NetworkInterfaceId.*",
            "InstanceId",
            "VpcId",
            "VSwitchId",
            "SecurityGroupId",
            "PrimaryIpAddress",
            "PrivateIpAddress.*",
            "Type",
            "Status",
            "PageNumber",
            "PageSize",
            "NextToken",
            "MaxResults",
            *TAGS,
        ),
        note="every instance has its primary interface; there are no others",
    )
    def describe_network_interfaces(self, call: Call) -> Reply:
        """Lists interfaces by ids, instance, place and addresses."""
        values = call.parameters
        ids = call.list_parameter("NetworkInterfaceId")
        addresses = [*call.list_parameter("PrivateIpAddress")]
        if primary := values.get("PrimaryIpAddress", ""):
            addresses.append(primary)
        rows = []
        for instance in self.collection("ecs.instance").values():
            row = interface(instance, self.cloud.account_id)
            equal = ("InstanceId", "VpcId", "VSwitchId", "Type", "Status")
            if (
                (not ids or row["NetworkInterfaceId"] in ids)
                and (not addresses or row["PrivateIpAddress"] in addresses)
                and all(values.get(name) in {None, "", row[name]} for name in equal)
                and values.get("SecurityGroupId", "") in {"", *instance["SecurityGroupIds"]}
                and not call.structures("Tag")
            ):
                rows.append(row)
        shown, numbers = page(rows, values, most=500)
        return {"NetworkInterfaceSets": {"NetworkInterfaceSet": shown}, **numbers}

    def _bandwidth(self, instance: Document, call: Call) -> None:
        out, into = "InternetMaxBandwidthOut", "InternetMaxBandwidthIn"
        instance[out] = integer(call.parameters, out, instance[out], 0, 100)
        instance[into] = integer(call.parameters, into, instance[into], 1, 200)
        if instance[out] and not instance["PublicIpAddress"]:
            instance["PublicIpAddress"] = free_public_address(self.cloud.store)

    def _put(self, instance: Document) -> None:
        self.collection("ecs.instance").put(instance["InstanceId"], instance)
