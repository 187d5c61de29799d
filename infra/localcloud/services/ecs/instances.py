"""The life of instances: run, start, stop, reboot, delete; each is a machine of the hypervisor."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from infra.localcloud.hypervisor.machine import MachineStatus
from infra.localcloud.service import ApiError, Call, Cloud, Reply
from infra.localcloud.services.ecs.instance import NO_STOPPED_MODE, attribute, described, machine_spec, status
from infra.localcloud.services.ecs.order import RUN_PARAMETERS, Orders
from infra.localcloud.services.vpc.conventions import (
    TAGS,
    api,
    boolean,
    choice,
    json_list,
    matches,
    moment,
    page,
    tagged,
)
from infra.localcloud.store import Document

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class Instances(Orders):
    """Operations on instances. Documents are in ``ecs.instance`` by id, their disks in ``ecs.disk``.

    What takes a while (stopping, rebooting, deleting) goes on in a thread after the call has been answered; its kind
    is in the document's ``Power``, so that it is taken up again after a restart.
    """

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self._moving: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def instance(self, instance_id: str) -> Document:
        """The instance of that id.

        Raises:
            ApiError: ``InvalidInstanceId.NotFound``.
        """
        found = self.collection("ecs.instance").get(instance_id)
        if found is None:
            raise ApiError(
                404, "InvalidInstanceId.NotFound", f"The specified InstanceId {instance_id} does not exist."
            )
        return found

    def status(self, instance: Document) -> str:
        """The instance's status now; the first ``Running`` is noted in the document."""
        state = status(instance["Power"], instance["Booted"], self._machine(instance["InstanceId"]))
        if state == "Running" and not instance["Booted"]:
            instance["Booted"] = True
            instance["StartTime"] = moment()
            self.collection("ecs.instance").put(instance["InstanceId"], instance)
        return state

    def stopped(self, instance: Document) -> None:
        """Checks that the instance is stopped.

        Raises:
            ApiError: ``IncorrectInstanceStatus``.
        """
        if (state := self.status(instance)) != "Stopped":
            raise ApiError(
                403,
                "IncorrectInstanceStatus",
                f"The current status of {instance['InstanceId']} is {state}; this operation needs Stopped.",
            )

    def take_up(self) -> None:
        """Goes on where the local cloud ended: finishes what was under way, starts what ended with the host."""
        hypervisor = self.cloud.hypervisor
        known = dict(self.collection("ecs.instance").items())
        for machine_id in hypervisor.machines():
            if machine_id.startswith("i-") and machine_id not in known:
                hypervisor.delete(machine_id)
        self.apply_ingress()
        for instance_id, instance in known.items():
            if instance["Power"] == "on":
                machine = self._machine(instance_id)
                if machine is None or machine.state not in {"running", "starting"}:
                    hypervisor.start(machine_spec(instance))
            elif instance["Power"] != "off":
                self._move(instance_id, force=True)

    @api(
        "RunInstances",
        required=("InstanceType",),
        optional=RUN_PARAMETERS,
        token=True,
        note="addresses of 127.0.0.0/8 only; pay-as-you-go only; data disks and public addresses are recorded, and"
        " not there in the machine; spot instances are never reclaimed; no stock limits",
    )
    def run_instances(self, call: Call) -> Reply:
        """Creates instances and starts them."""
        orders = self.order(call)
        if boolean(call.parameters, "DryRun"):
            raise ApiError(400, "DryRunOperation", "Request validation has been passed with DryRun flag set.")
        for instance, disks in orders:
            self.collection("ecs.instance").put(instance["InstanceId"], instance)
            for disk in disks:
                self.collection("ecs.disk").put(disk["DiskId"], disk)
        self.apply_ingress()
        for instance, _ in orders:
            self.cloud.hypervisor.start(machine_spec(instance))
        return {"InstanceIdSets": {"InstanceIdSet": [instance["InstanceId"] for instance, _ in orders]}}

    @api(
        "DescribeInstances",
        optional=(
            "InstanceIds",
            "VpcId",
            "VSwitchId",
            "ZoneId",
            "SecurityGroupId",
            "InstanceName",
            "ImageId",
            "Status",
            "InstanceType",
            "InstanceTypeFamily",
            "InstanceNetworkType",
            "InstanceChargeType",
            "InternetChargeType",
            "KeyPairName",
            "PrivateIpAddresses",
            "PublicIpAddresses",
            "EipAddresses",
            "ResourceGroupId",
            "AdditionalAttributes.*",
            "PageNumber",
            "PageSize",
            "NextToken",
            "MaxResults",
            *TAGS,
        ),
    )
    def describe_instances(self, call: Call) -> Reply:
        """Lists instances by ids (a JSON list), place, name, addresses and tags."""
        values = call.parameters
        ids = json_list(values, "InstanceIds")
        addresses = json_list(values, "PrivateIpAddresses")
        public = json_list(values, "PublicIpAddresses")
        elastic = json_list(values, "EipAddresses")
        equal = (
            "VpcId",
            "VSwitchId",
            "ZoneId",
            "ImageId",
            "Status",
            "InstanceType",
            "InstanceTypeFamily",
            "InstanceNetworkType",
            "InstanceChargeType",
            "InternetChargeType",
            "KeyPairName",
            "ResourceGroupId",
        )
        wanted = [(name, values.get(name, "")) for name in equal]
        group, name = values.get("SecurityGroupId", ""), values.get("InstanceName", "")
        rows = []
        for instance in self.collection("ecs.instance").values():
            if (
                (ids and instance["InstanceId"] not in ids)
                or (addresses and instance["PrivateIpAddress"] not in addresses)
                or (public and instance["PublicIpAddress"] not in public)
                or (group and group not in instance["SecurityGroupIds"])
                or (name and not _named(name, instance["InstanceName"]))
                or not tagged(instance, call)
            ):
                continue
            row = self._row(instance)
            flat = {**row, **row["VpcAttributes"]}
            if matches(flat, wanted) and (not elastic or row["EipAddress"]["IpAddress"] in elastic):
                rows.append(row)
        shown, numbers = page(rows, values)
        return {"Instances": {"Instance": shown}, **numbers}

    @api(
        "DescribeInstanceStatus",
        optional=("InstanceId.*", "ZoneId", "PageNumber", "PageSize"),
    )
    def describe_instance_status(self, call: Call) -> Reply:
        """Lists instances with their status."""
        ids = call.list_parameter("InstanceId")
        zone = call.parameters.get("ZoneId", "")
        rows = [
            {"InstanceId": instance["InstanceId"], "Status": self.status(instance)}
            for instance in self.collection("ecs.instance").values()
            if (not ids or instance["InstanceId"] in ids) and zone in {"", instance["ZoneId"]}
        ]
        shown, numbers = page(rows, call.parameters)
        return {"InstanceStatuses": {"InstanceStatus": shown}, **numbers}

    @api("DescribeInstanceAttribute", required=("InstanceId",))
    def describe_instance_attribute(self, call: Call) -> Reply:
        """One instance."""
        instance = self.instance(call.parameters["InstanceId"])
        return attribute(instance, self.status(instance), self.cloud.region, self._elastic(instance))

    @api("StartInstance", required=("InstanceId",), optional=("DryRun", "SourceRegionId", "InitLocalDisk"))
    def start_instance(self, call: Call) -> Reply:
        """Starts a stopped instance."""
        self._start(call.parameters["InstanceId"])
        return {}

    @api(
        "StopInstance",
        required=("InstanceId",),
        optional=("ForceStop", "StoppedMode", "ConfirmStop", "DryRun"),
    )
    def stop_instance(self, call: Call) -> Reply:
        """Stops a running instance, gently unless forced."""
        self._stop(call.parameters["InstanceId"], call)
        return {}

    @api("RebootInstance", required=("InstanceId",), optional=("ForceStop", "DryRun"))
    def reboot_instance(self, call: Call) -> Reply:
        """Stops a running instance and starts it again."""
        self._reboot(call.parameters["InstanceId"], call)
        return {}

    @api(
        "DeleteInstance",
        required=("InstanceId",),
        optional=("Force", "TerminateSubscription", "DryRun", "ForceStop"),
        token=True,
    )
    def delete_instance(self, call: Call) -> Reply:
        """Releases an instance: a stopped one, or any with ``Force``."""
        self._release(call.parameters["InstanceId"], call)
        return {}

    @api("StartInstances", required=("InstanceId.*",), optional=("BatchOptimization", "DryRun"))
    def start_instances(self, call: Call) -> Reply:
        """Starts several stopped instances, all or none."""
        return self._each(call, self._start)

    @api(
        "StopInstances",
        required=("InstanceId.*",),
        optional=("ForceStop", "StoppedMode", "BatchOptimization", "DryRun"),
    )
    def stop_instances(self, call: Call) -> Reply:
        """Stops several running instances, all or none."""
        return self._each(call, lambda instance_id: self._stop(instance_id, call))

    @api("RebootInstances", required=("InstanceId.*",), optional=("ForceReboot", "BatchOptimization", "DryRun"))
    def reboot_instances(self, call: Call) -> Reply:
        """Reboots several running instances, all or none."""
        return self._each(call, lambda instance_id: self._reboot(instance_id, call))

    @api(
        "DeleteInstances",
        required=("InstanceId.*",),
        optional=("Force", "ForceStop", "TerminateSubscription", "DryRun"),
        token=True,
    )
    def delete_instances(self, call: Call) -> Reply:
        """Releases several instances, all or none."""
        for instance_id in call.list_parameter("InstanceId"):
            self._release(instance_id, call)
        return {}

    @api("GetInstanceConsoleOutput", required=("InstanceId",), optional=("RemoveSymbols",))
    def get_instance_console_output(self, call: Call) -> Reply:
        """What the machine wrote to its console, in base64."""
        instance = self.instance(call.parameters["InstanceId"])
        try:
            text = self.cloud.hypervisor.console(instance["InstanceId"])
        except KeyError:
            text = ""
        if boolean(call.parameters, "RemoveSymbols"):
            text = _CONTROL.sub("", text)
        return {
            "InstanceId": instance["InstanceId"],
            "ConsoleOutput": base64.b64encode(text.encode()).decode(),
            "LastUpdateTime": moment(seconds=True),
        }

    def _machine(self, instance_id: str) -> MachineStatus | None:
        try:
            return self.cloud.hypervisor.status(instance_id)
        except KeyError:
            return None

    def _row(self, instance: Document) -> dict[str, Any]:
        return described(instance, self.status(instance), self.cloud.region, self._elastic(instance))

    def _elastic(self, instance: Document) -> Document | None:
        eips = self.collection("vpc.eip").values()
        return next((eip for eip in eips if eip["InstanceId"] == instance["InstanceId"]), None)

    def _each(self, call: Call, act: Callable[[str], None]) -> Reply:
        """Does the same to every instance that the call names; when one refuses, nothing happens to any."""
        ids = call.list_parameter("InstanceId")
        before = {instance_id: self.status(self.instance(instance_id)) for instance_id in ids}
        for instance_id in ids:
            act(instance_id)
        responses = [
            {
                "InstanceId": instance_id,
                "PreviousStatus": before[instance_id],
                "CurrentStatus": self.status(self.instance(instance_id)),
                "Code": "200",
                "Message": "success",
            }
            for instance_id in ids
        ]
        return {"InstanceResponses": {"InstanceResponse": responses}}

    def _start(self, instance_id: str) -> None:
        instance = self.instance(instance_id)
        self.stopped(instance)
        instance["Power"] = "on"
        instance["StartTime"] = moment()
        self.collection("ecs.instance").put(instance_id, instance)
        self.cloud.hypervisor.start(machine_spec(instance))

    def _stop(self, instance_id: str, call: Call) -> None:
        instance = self._running(instance_id, also="Stopped")
        # The provider hands back what a running instance shows: Not-applicable, which asks for nothing.
        given = {name: value for name, value in call.parameters.items() if value != NO_STOPPED_MODE}
        instance["StoppedMode"] = choice(given, "StoppedMode", ("KeepCharging", "StopCharging"), "KeepCharging")
        instance["Power"] = "stopping"
        self.collection("ecs.instance").put(instance_id, instance)
        self._move(instance_id, force=boolean(call.parameters, "ForceStop"))

    def _reboot(self, instance_id: str, call: Call) -> None:
        instance = self._running(instance_id)
        instance["Power"] = "rebooting"
        self.collection("ecs.instance").put(instance_id, instance)
        force = boolean(call.parameters, "ForceStop") or boolean(call.parameters, "ForceReboot")
        self._move(instance_id, force=force)

    def _release(self, instance_id: str, call: Call) -> None:
        instance = self.instance(instance_id)
        if instance["DeletionProtection"]:
            raise ApiError(
                403,
                "OperationDenied.DeletionProtection",
                f"{instance_id} is protected against deletion: set DeletionProtection to false first.",
            )
        if not boolean(call.parameters, "Force") and instance["Power"] != "releasing":
            self.stopped(instance)
        instance["Power"] = "releasing"
        self.collection("ecs.instance").put(instance_id, instance)
        self._move(instance_id, force=True)

    def _running(self, instance_id: str, also: str = "") -> Document:
        instance = self.instance(instance_id)
        if (state := self.status(instance)) not in {"Running", also}:
            raise ApiError(
                403,
                "IncorrectInstanceStatus",
                f"The current status of {instance_id} is {state}; this operation needs Running.",
            )
        return instance

    def _move(self, instance_id: str, *, force: bool) -> None:
        """Goes on, in a thread, towards what the document's ``Power`` asks."""
        with self._lock:
            if instance_id in self._moving:
                return
            thread = threading.Thread(
                target=self._moved, args=(instance_id, force), name=f"ecs-{instance_id}", daemon=True
            )
            self._moving[instance_id] = thread
        thread.start()

    def settle(self, seconds: float) -> bool:
        """Waits for what is under way, at most so long in total; True when all of it came to its end.

        Call it before the state is closed. What is cut off is taken up at the next start.
        """
        end = time.monotonic() + seconds
        with self._lock:
            threads = list(self._moving.values())
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _moved(self, instance_id: str, force: bool) -> None:
        try:
            # A release may be asked for while a stop goes on: look again after each step.
            while (instance := self._due(instance_id)) is not None:
                self._step(instance, force=force)
        except BaseException:
            with self._lock:
                self._moving.pop(instance_id, None)
            raise

    def _due(self, instance_id: str) -> Document | None:
        """The document while something is to be done; else None, and this thread counts as ended.

        Both in one transaction, so that no call can ask for something in between.
        """
        with self.cloud.store.transaction(), self._lock:
            instance = self.collection("ecs.instance").get(instance_id)
            if instance is not None and instance["Power"] in {"stopping", "rebooting", "releasing"}:
                return instance
            self._moving.pop(instance_id, None)
            return None

    def _step(self, instance: Document, *, force: bool) -> None:
        """One transition, from one settled ``Power`` to the next."""
        hypervisor, instances = self.cloud.hypervisor, self.collection("ecs.instance")
        instance_id, power = instance["InstanceId"], instance["Power"]
        if power == "releasing":
            hypervisor.delete(instance_id)
            with self.cloud.store.transaction():
                self._forget(instance_id)
            return
        hypervisor.stop(instance_id, force=force)
        with self.cloud.store.transaction():
            now = instances.get(instance_id)
            if now is None or now["Power"] != power:
                return
            now["Power"] = "off" if power == "stopping" else "on"
            instances.put(instance_id, now)
            if power == "rebooting":
                hypervisor.start(machine_spec(now))

    def _forget(self, instance_id: str) -> None:
        self.collection("ecs.instance").delete(instance_id)
        disks, eips = self.collection("ecs.disk"), self.collection("vpc.eip")
        for disk_id, disk in disks.items():
            if disk["InstanceId"] == instance_id:
                disks.delete(disk_id)
        for allocation_id, eip in eips.items():
            if eip["InstanceId"] == instance_id:
                eips.put(allocation_id, {**eip, "InstanceId": "", "InstanceType": ""})
        self.apply_ingress()


def _named(pattern: str, name: str) -> bool:
    if "*" not in pattern:
        return name == pattern
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name) is not None
