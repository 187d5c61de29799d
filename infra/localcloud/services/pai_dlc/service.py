"""The operations of PAI DLC that this cloud implements."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from infra.localcloud.service import ApiError, ApiService, Call, Cloud, Reply, operation
from infra.localcloud.services.oss.mount import Mount
from infra.localcloud.services.oss.service import OssService
from infra.localcloud.services.pai_dlc import job
from infra.localcloud.services.pai_dlc.job import TERMINAL, Record
from infra.localcloud.services.pai_dlc.request import DataSource, parse_create_job, parse_update_job
from infra.localcloud.services.pai_dlc.runner import FolderMount, Runner
from infra.localcloud.services.pai_dlc.specs import SPECS

_DEFAULT_LINES = 2000
_SORT_KEYS = ("DisplayName", "JobType", "Status", "GmtCreateTime", "GmtFinishTime", "Duration")


class PaiDlc(ApiService):
    """Training jobs in the public resource pool."""

    name = "pai_dlc"
    versions = ("2020-12-03",)
    hosts = (r"pai-dlc\.[a-z0-9-]+\.aliyuncs\.com",)
    ram_code = "paidlc"

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self._jobs = cloud.store.collection("pai_dlc.job")
        self._runner = Runner(self._jobs, cloud.directory / "pai_dlc", lambda: cloud.hypervisor, self._mount)

    def start(self) -> None:
        """Takes up the jobs that were under way when the local cloud went down."""
        for record in self._jobs.values():
            if record["Status"] not in TERMINAL:
                self._runner.follow(record["JobId"])

    def close(self) -> None:
        """Stops following jobs; their pods go on."""
        self._runner.close()

    def inventory(self) -> list[str]:
        """Every job that was not deleted."""
        return [f"pai_dlc:job {record['JobId']}" for record in self._jobs.values()]

    def _mount(self, source: DataSource, folder: Path) -> FolderMount:
        oss = self.cloud.service("oss")
        assert isinstance(oss, OssService)
        return Mount(oss, source.bucket, source.prefix, folder, writable=source.mount_access == "RW")

    @operation(
        "CreateJob",
        method="POST",
        path="/api/v1/jobs",
        note="PyTorchJob; no quotas, no code sources; pods don't reach each other",
    )
    def create_job(self, call: Call) -> Reply:
        """Takes a job in and starts it."""
        request = parse_create_job(call.body, call.region)
        with self.cloud.store.transaction():
            running = [record for record in self._jobs.values() if record["Status"] not in TERMINAL]
            taken = {pod["Ip"] for record in running for pod in record["Pods"]}
            record = job.new_record(request, call.identity.account_id, taken)
            self._jobs.put(record["JobId"], record)
        self._runner.follow(record["JobId"])
        return {"JobId": record["JobId"]}

    @operation("GetJob", method="GET", path="/api/v1/jobs/{JobId}", optional=("NeedDetail",))
    def get_job(self, call: Call) -> Reply:
        """One job with its pods and history."""
        return job.document(self._job(call))

    @operation(
        "ListJobs",
        method="GET",
        path="/api/v1/jobs",
        optional=(
            "DisplayName", "DisplayNameSearchMode", "JobId", "JobIds", "JobType", "Status", "WorkspaceId",
            "StartTime", "EndTime", "PageNumber", "PageSize", "SortBy", "Order", "ShowOwn",
        ),
    )  # fmt: skip
    def list_jobs(self, call: Call) -> Reply:
        """Jobs by filters, newest first unless asked otherwise."""
        query = call.parameters
        found = [job.document(record) for record in self._jobs.values()]
        for test in _filters(query):
            found = [document for document in found if test(document)]
        key = query.get("SortBy", "GmtCreateTime")
        if key not in _SORT_KEYS:
            raise ApiError(400, "InvalidParameter", f"SortBy: {key!r} is not one of {', '.join(_SORT_KEYS)}.")
        found.sort(key=lambda document: document.get(key, ""), reverse=query.get("Order", "desc") == "desc")
        number = _integer(query, "PageNumber", 1, 1, 1_000_000)
        size = _integer(query, "PageSize", 10, 1, 100)
        return {"Jobs": found[(number - 1) * size : number * size], "TotalCount": len(found)}

    @operation("UpdateJob", method="PUT", path="/api/v1/jobs/{JobId}")
    def update_job(self, call: Call) -> Reply:
        """Changes priority and accessibility."""
        record = self._job(call)
        request = parse_update_job(call.body)

        def change(stored: Record) -> None:
            stored["Request"].update(request.model_dump(by_alias=True, exclude={"job_specs"}, exclude_none=True))

        self._jobs.update(record["JobId"], change)
        return {"JobId": record["JobId"]}

    @operation("StopJob", method="POST", path="/api/v1/jobs/{JobId}/stop")
    def stop_job(self, call: Call) -> Reply:
        """Ends a job that has not ended; it becomes Stopped within seconds."""
        record = self._job(call)
        if record["Status"] in TERMINAL:
            message = f"The job {record['JobId']} is {record['Status']} and can't be stopped."
            raise ApiError(400, "InvalidJobStatus", message)
        self._jobs.update(record["JobId"], lambda stored: stored.update(StopRequested=True))
        return {"JobId": record["JobId"]}

    @operation("DeleteJob", method="DELETE", path="/api/v1/jobs/{JobId}")
    def delete_job(self, call: Call) -> Reply:
        """Removes the record and logs of a job that has ended."""
        record = self._job(call)
        if record["Status"] not in TERMINAL:
            message = f"The job {record['JobId']} is {record['Status']}: stop it first."
            raise ApiError(400, "InvalidJobStatus", message)
        self._runner.forget(record["JobId"])
        self._jobs.delete(record["JobId"])
        return {"JobId": record["JobId"]}

    @operation("GetJobEvents", method="GET", path="/api/v1/jobs/{JobId}/events",
               optional=("StartTime", "EndTime", "MaxEventsNum"))  # fmt: skip
    def get_job_events(self, call: Call) -> Reply:
        """What happened to the job."""
        record = self._job(call)
        lines = job.events(record)[: _integer(call.parameters, "MaxEventsNum", 2000, 1, 100_000)]
        return {"JobId": record["JobId"], "Events": lines}

    @operation("GetPodEvents", method="GET", path="/api/v1/jobs/{JobId}/pods/{PodId}/events",
               optional=("PodUid", "StartTime", "EndTime", "MaxEventsNum"))  # fmt: skip
    def get_pod_events(self, call: Call) -> Reply:
        """What happened to one pod."""
        record = self._job(call)
        pod = self._pod(record, call)
        lines = job.events(record, pod["PodId"])[: _integer(call.parameters, "MaxEventsNum", 2000, 1, 100_000)]
        return {"JobId": record["JobId"], "PodId": pod["PodId"], "PodUid": pod["PodUid"], "Events": lines}

    @operation("GetPodLogs", method="GET", path="/api/v1/jobs/{JobId}/pods/{PodId}/logs",
               optional=("PodUid", "MaxLines", "StartTime", "EndTime", "DownloadToFile"),
               note="times are those at which lines were seen; no download files")  # fmt: skip
    def get_pod_logs(self, call: Call) -> Reply:
        """The last lines that a pod wrote."""
        record = self._job(call)
        pod = self._pod(record, call)
        if call.parameters.get("DownloadToFile", "false").lower() == "true":
            raise ApiError(400, "InvalidParameter", "DownloadToFile is not supported.")
        log = self._runner.log(record, pod["PodId"])
        lines = log.lines(_moment(call, "StartTime"), _moment(call, "EndTime"))
        count = _integer(call.parameters, "MaxLines", _DEFAULT_LINES, 1, 100_000)
        return {"JobId": record["JobId"], "PodId": pod["PodId"], "PodUid": pod["PodUid"], "Logs": lines[-count:]}

    @operation("ListEcsSpecs", method="GET", path="/api/v1/ecsspecs",
               optional=("AcceleratorType", "InstanceTypes", "PageNumber", "PageSize"),
               note="GPU types can be asked for; jobs get this machine's CPUs")  # fmt: skip
    def list_ecs_specs(self, call: Call) -> Reply:
        """The machine types of the public pool."""
        query = call.parameters
        found = [spec.document() for spec in SPECS.values()]
        if kind := query.get("AcceleratorType"):
            found = [spec for spec in found if spec["AcceleratorType"] == kind]
        if types := query.get("InstanceTypes"):
            found = [spec for spec in found if spec["InstanceType"] in types.split(",")]
        number = _integer(query, "PageNumber", 1, 1, 1_000_000)
        size = _integer(query, "PageSize", 100, 1, 100)
        return {"EcsSpecs": found[(number - 1) * size : number * size], "TotalCount": len(found)}

    def _job(self, call: Call) -> Record:
        job_id = call.path_parameters["JobId"]
        record = self._jobs.get(job_id)
        if record is None:
            raise ApiError(404, "JobNotFound", f"The job {job_id} does not exist.")
        return record

    @staticmethod
    def _pod(record: Record, call: Call) -> Record:
        pod_id = call.path_parameters["PodId"]
        for pod in record["Pods"]:
            if pod["PodId"] == pod_id and call.parameters.get("PodUid", pod["PodUid"]) == pod["PodUid"]:
                found: Record = pod
                return found
        raise ApiError(404, "PodNotFound", f"The job {record['JobId']} has no pod {pod_id}.")


def _filters(query: Mapping[str, str]) -> Iterator[Callable[[Record], bool]]:
    for name in ("JobId", "JobType", "Status", "WorkspaceId"):
        if name in query:
            yield functools.partial(_equals, name, query[name])
    if ids := query.get("JobIds"):
        yield lambda document: document["JobId"] in ids.split(",")
    if text := query.get("DisplayName"):
        mode = query.get("DisplayNameSearchMode", "fuzzy").lower()
        if mode in ("exact", "accurate"):
            yield lambda document: document["DisplayName"] == text
        else:
            yield lambda document: text in document["DisplayName"]
    if first := query.get("StartTime"):
        yield lambda document: document["GmtCreateTime"] >= first
    if last := query.get("EndTime"):
        yield lambda document: document["GmtCreateTime"] <= last


def _equals(name: str, value: str, document: Record) -> bool:
    return bool(document[name] == value)


def _integer(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ApiError(400, "InvalidParameter", f"{name}: {text!r} is not a number from {low} to {high}.")
    return int(text)


def _moment(call: Call, name: str) -> datetime | None:
    text = call.parameters.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(400, "InvalidParameter", f"{name}: {text!r} is not an ISO 8601 time.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
