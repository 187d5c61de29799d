"""A job's record in the store and its life: states, timestamps, pods, events, and its form on the wire."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Any

from infra.localcloud.service import ApiError
from infra.localcloud.services.pai_dlc.request import CreateJobRequest
from infra.localcloud.services.pai_dlc.specs import SPECS

Record = dict[str, Any]

TERMINAL = frozenset({"Succeeded", "Failed", "Stopped"})
MASTER_PORT = 23456
_BLOCK = IPv4Network("127.81.0.0/16")
_TIMES = {
    "Creating": "GmtCreateTime",
    "Queuing": "GmtSubmittedTime",
    "Running": "GmtRunningTime",
    "Succeeded": "GmtSuccessedTime",
    "Failed": "GmtFailedTime",
    "Stopped": "GmtStoppedTime",
}


def now() -> str:
    """The time in the vendor's form."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(moment: str) -> float:
    """Seconds from a moment in the vendor's form until now."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def new_record(request: CreateJobRequest, account_id: str, taken_addresses: set[str]) -> Record:
    """A job in its first state, with its pods laid out and their addresses chosen.

    Raises:
        ApiError: no address is left.
    """
    job_id = f"dlc{secrets.token_hex(8)}"
    free = (str(host) for host in _BLOCK.hosts() if str(host) not in taken_addresses)
    pods = []
    # Rank 0 is the master, where one is asked for.
    for spec in sorted(request.job_specs, key=lambda spec: spec.type != "Master"):
        for index in range(spec.pod_count):
            address = next(free, None)
            if address is None:
                raise ApiError(400, "ResourceNotEnough", f"No address is left in {_BLOCK}.")
            pods.append(
                {
                    "PodId": f"{job_id}-{spec.type.lower()}-{index}",
                    "PodUid": secrets.token_hex(16),
                    "Type": spec.type,
                    "Status": "Pending",
                    "Ip": address,
                    "GmtCreateTime": now(),
                }
            )
    record: Record = {
        "JobId": job_id,
        "Request": request.model_dump(by_alias=True, mode="json"),
        "UserId": account_id,
        "Pods": pods,
        "StatusHistory": [],
        "Events": [],
        "StopRequested": False,
        "ReasonCode": "",
        "ReasonMessage": "",
    }
    move(record, "Creating")
    return record


def move(record: Record, status: str, reason_code: str = "", reason: str = "") -> None:
    """Takes the job into a state, with its timestamp, history and event."""
    moment = now()
    history = record["StatusHistory"]
    if history:
        history[-1]["EndTime"] = moment
    entry = {"Status": status, "StartTime": moment, "EndTime": "", "ReasonCode": reason_code, "ReasonMessage": reason}
    history.append(entry)
    record["Status"] = status
    record["ReasonCode"], record["ReasonMessage"] = reason_code, reason
    if status in _TIMES:
        record[_TIMES[status]] = moment
    if status in TERMINAL:
        record["GmtFinishTime"] = entry["EndTime"] = moment
    note(record, f"job is {status}{': ' + reason if reason else ''}")


def note(record: Record, text: str, pod_id: str = "") -> None:
    """Adds an event of the job or of one of its pods."""
    record["Events"].append({"time": now(), "text": text, "pod": pod_id})


def events(record: Record, pod_id: str | None = None) -> list[str]:
    """Event lines of the job, or of one pod."""
    chosen = [event for event in record["Events"] if pod_id is None or event["pod"] == pod_id]
    return [f"{event['time']} {event['pod'] + ' ' if event['pod'] else ''}{event['text']}" for event in chosen]


def document(record: Record) -> Record:
    """The job as GetJob and ListJobs give it."""
    request = record["Request"]
    started = record.get("GmtRunningTime")
    ended = record.get("GmtFinishTime")
    duration = 0
    if started:
        duration = int(seconds_since(started) - (seconds_since(ended) if ended else 0.0))
    specs = [SPECS.get(spec["EcsSpec"]) for spec in request["JobSpecs"]]
    counts = [spec["PodCount"] for spec in request["JobSpecs"]]
    shown = {
        name: request[name]
        for name in (
            "DisplayName",
            "JobType",
            "JobSpecs",
            "UserCommand",
            "WorkspaceId",
            "ResourceId",
            "Description",
            "Priority",
            "Envs",
            "DataSources",
            "UserVpc",
            "JobMaxRunningTimeMinutes",
            "Settings",
            "Accessibility",
        )
        if request[name] is not None
    }
    return {
        **shown,
        **{name: record[name] for name in ("JobId", "Status", "UserId", "ReasonCode", "ReasonMessage")},
        **{name: record[name] for name in (*_TIMES.values(), "GmtFinishTime") if name in record},
        "StatusHistory": record["StatusHistory"],
        "Pods": [{k: v for k, v in pod.items() if k != "ExitCode"} for pod in record["Pods"]],
        "Duration": duration,
        "RequestCPU": sum(spec.cpu * count for spec, count in zip(specs, counts, strict=True) if spec),
        "RequestGPU": sum(spec.gpu * count for spec, count in zip(specs, counts, strict=True) if spec),
        "RequestMemory": f"{sum(s.memory * count for s, count in zip(specs, counts, strict=True) if s)}Gi",
        "ResourceType": "ECS",
    }


def environment(record: Record, rank: int) -> dict[str, str]:
    """What DLC sets in a pod of a PyTorchJob, over the job's own variables."""
    return {
        **record["Request"]["Envs"],
        "MASTER_ADDR": record["Pods"][0]["Ip"],
        "MASTER_PORT": str(MASTER_PORT),
        "WORLD_SIZE": str(len(record["Pods"])),
        "RANK": str(rank),
    }
