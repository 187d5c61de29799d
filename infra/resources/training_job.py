"""A training job in PAI DLC, named by the digest of what goes into it: an equal digest is never trained twice."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pulumi
from alibabacloud_pai_dlc20201203 import models
from alibabacloud_pai_dlc20201203.client import Client as DlcClient
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from infra.resources.cloud import (
    CloudProvider,
    changed,
    dlc_client,
    failures,
    is_unknown,
    known,
    oss_client,
    read_object,
)
from serving.clients.openapi import ApiError, call

Properties = dict[str, Any]
Report = Callable[[str], None]

MANIFEST = "MANIFEST.json"  # written last: where it is, the artifact is complete
METRICS = "metrics.json"
ENDED = frozenset({"Succeeded", "Failed", "Stopped"})

_OUTPUTS = ("job_id", "status", "metrics")
_POLL_S = 2.0
_QUEUE_MINUTES = 60  # how long a job may wait for resources before an update gives up watching it
_STOP_S = 120.0
_LOG_LINES = 2000  # asked for at once
_LAST_LINES = 20  # of a failed job's output, in the error
_PAGE = 100


class TrainingError(Exception):
    """The job ended without an artifact; the message has the reason and the last lines of its output."""


@dataclass(frozen=True)
class DataSource:
    """A folder of a bucket that the job's pods see.

    Attributes:
        uri: ``oss://<bucket>.oss-<region>(-internal).aliyuncs.com/<folder>/``.
        mount_path: where pods see it.
        access: ``RO`` or ``RW``.
    """

    uri: str
    mount_path: str
    access: str


@dataclass(frozen=True)
class TrainingJobArgs:
    """Inputs of `TrainingJob`.

    Attributes:
        name: the job's display name; ends with the first twelve digits of `digest`.
        digest: SHA-256, hex, of everything that makes a difference in the artifact.
        command: what every pod runs, a bash script.
        image: container image.
        instance_type: machine type of the public pool, one machine a pod.
        data_sources: mounted folders; the one with the artifacts has to be writable.
        max_minutes: the job is stopped when it has run for so long.
        bucket: where the artifact ends up.
        prefix: the artifact's folder in it, ``artifacts/<digest>/``.
        pod_count: machines; more than one are for ``torchrun``.
        environment: variables of every pod. Not for secrets: they are readable in the console.
        workspace_id: PAI workspace; empty: the account's default one.
    """

    name: str
    digest: str
    command: str
    image: str
    instance_type: str
    data_sources: Sequence[DataSource]
    max_minutes: int
    bucket: str
    prefix: str
    pod_count: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    workspace_id: str = ""


_INPUTS = tuple(TrainingJobArgs.__dataclass_fields__)


def validate(properties: Mapping[str, Any]) -> dict[str, str]:
    """Problems by property; what isn't known yet is no problem."""
    problems = {}
    digest = properties.get("digest")
    if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", str(digest)):
        problems["digest"] = f"is {digest!r}, has to be a SHA-256 in hex"
    name = properties.get("name")
    if name is not None and digest is not None and not str(name).endswith(f"-{str(digest)[:12]}"):
        problems["name"] = f"is {name!r}, has to end with -{str(digest)[:12]}, the start of the digest"
    for number, low, high in (("max_minutes", 1, 10080), ("pod_count", 1, 16)):
        value = properties.get(number)
        if value is not None and not (float(value).is_integer() and low <= value <= high):
            problems[number] = f"is {value!r}, has to be a whole number from {low} to {high}"
    prefix = properties.get("prefix")
    if prefix is not None and not re.fullmatch(r"([^/]+/)+", str(prefix)):
        problems["prefix"] = f"is {prefix!r}, has to be a folder: it ends with a slash and starts without one"
    for source in properties.get("data_sources") or ():
        if source["access"] not in ("RO", "RW"):
            problems["data_sources"] = f"access to {source['uri']} is {source['access']!r}, allowed are RO and RW"
        elif not re.fullmatch(r"oss://[a-z0-9-]+\.oss-[a-z0-9-]+\.aliyuncs\.com/(.*/)?", source["uri"]):
            problems["data_sources"] = f"{source['uri']!r} is not oss://<bucket>.oss-<region>.aliyuncs.com/<folder>/"
    return problems


def plan(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What an update does, in words; empty when nothing changes."""
    train = (
        f"train {new['name']} on {new['pod_count']:.0f} x {new['instance_type']}, "
        f"{new['max_minutes']:.0f} minutes at most, unless its artifact is in oss://{new['bucket']}/{new['prefix']}"
    )
    if not old:
        return [train]
    if old["digest"] != new["digest"]:
        return [train, f"delete the record of job {old['name']}; its artifact stays for rollback"]
    names = changed(old, new, _INPUTS)
    return [f"note {', '.join(names)}: the digest is the same, nothing is trained"] if names else []


def request(properties: Mapping[str, Any]) -> models.CreateJobRequest:
    """The job as DLC wants it."""
    return models.CreateJobRequest(
        display_name=properties["name"],
        job_type="PyTorchJob",
        workspace_id=properties.get("workspace_id") or None,
        user_command=properties["command"],
        envs={"PYTHONUNBUFFERED": "1", **(properties.get("environment") or {})},  # progress is watched as it is made
        job_max_running_time_minutes=int(properties["max_minutes"]),
        job_specs=[
            models.JobSpec(
                type="Worker",
                image=properties["image"],
                pod_count=int(properties["pod_count"]),
                ecs_spec=properties["instance_type"],
            )
        ],
        data_sources=[
            models.CreateJobRequestDataSources(
                uri=source["uri"], mount_path=source["mount_path"], mount_access=source["access"]
            )
            for source in properties["data_sources"]
        ],
    )


def new_lines(seen: Sequence[str], answer: Sequence[str]) -> list[str]:
    """Those lines of a log's newest part that follow what was seen before.

    The parts overlap unless more lines came meanwhile than one answer holds.
    """
    for start in range(max(len(seen) - len(answer), 0), len(seen) + 1):
        overlap = len(seen) - start
        if list(seen[start:]) == list(answer[:overlap]):
            return list(answer[overlap:])
    return list(answer)


class _Jobs:
    """Jobs of one display name."""

    def __init__(self, client: DlcClient, name: str) -> None:
        self._client = client
        self.name = name

    def find(self) -> list[models.JobItem]:
        """All of them, oldest first. Display names need not be unique, and the service's search is a fuzzy one."""
        found: list[models.JobItem] = []
        page = 1
        while True:
            query = models.ListJobsRequest(
                display_name=self.name, page_number=page, page_size=_PAGE, sort_by="GmtCreateTime", order="asc"
            )
            jobs = call("PAI DLC ListJobs", functools.partial(self._client.list_jobs, query)).body.jobs or []
            found.extend(job for job in jobs if job.display_name == self.name)
            if len(jobs) < _PAGE:
                return found
            page += 1

    def create(self, properties: Mapping[str, Any]) -> str:
        """Starts a job and returns its id, the older one's if a concurrent update started one as well."""
        for attempt in range(3):
            try:
                answer = call("PAI DLC CreateJob", lambda: self._client.create_job(request(properties)), attempts=1)
                break
            except ApiError as error:
                # The answer may be lost while the job exists: look before asking again.
                if not error.transient or attempt == 2:
                    raise
                time.sleep(_POLL_S)
                if alive := [job for job in self.find() if job.status not in ENDED]:
                    return str(alive[0].job_id)
        job_id = str(answer.body.job_id)
        alive = [job for job in self.find() if job.status not in ENDED or job.job_id == job_id]
        if alive and alive[0].job_id != job_id:
            self.remove(job_id)
            return str(alive[0].job_id)
        return job_id

    def get(self, job_id: str) -> models.GetJobResponseBody:
        """One job with its pods."""
        query = models.GetJobRequest(need_detail=True)
        return call("PAI DLC GetJob", lambda: self._client.get_job(job_id, query)).body

    def log(self, job: models.GetJobResponseBody) -> list[str]:
        """The newest lines of the pod that has rank 0: the master, or else the first worker."""
        pod = min(job.pods or (), key=lambda pod: (pod.type != "Master", pod.pod_id), default=None)
        if pod is None or pod.status == "Pending":
            return []
        query = models.GetPodLogsRequest(max_lines=_LOG_LINES, pod_uid=pod.pod_uid)
        try:
            answer = call("PAI DLC GetPodLogs", lambda: self._client.get_pod_logs(job.job_id, pod.pod_id, query))
        except ApiError:
            return []  # progress is a courtesy; whether the job is well is asked for by itself
        return [str(line) for line in answer.body.logs or []]

    def remove(self, job_id: str) -> None:
        """Stops a job if it runs, and deletes its record; one that is gone is fine."""
        try:
            deadline = time.monotonic() + _STOP_S
            if self.get(job_id).status not in ENDED:
                call("PAI DLC StopJob", lambda: self._client.stop_job(job_id))
            while self.get(job_id).status not in ENDED:
                if time.monotonic() > deadline:
                    raise TrainingError(f"job {job_id} ({self.name}) did not stop within {_STOP_S:.0f} s")
                time.sleep(_POLL_S)
            call("PAI DLC DeleteJob", lambda: self._client.delete_job(job_id))
        except ApiError as error:
            if not error.not_found:
                raise

    def remove_all(self) -> None:
        """Removes every job of the name: an interrupted update may have left more than one."""
        for job in self.find():
            self.remove(str(job.job_id))


class TrainingJobProvider(CloudProvider):
    """Runs jobs and watches them; whatever is interrupted is taken up by the next update."""

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Refuses what DLC would refuse, and names that don't follow the digest."""
        return CheckResult(news, failures(validate(known(news))))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """A new digest is a new job; other changes are noted."""
        names = changed(olds, news, _INPUTS)
        if names and not is_unknown(news):
            for step in plan(olds, news):
                pulumi.log.info(step)
        return DiffResult(changes=bool(names))

    def create(self, props: Properties) -> CreateResult:
        """Trains, or finds the artifact of an equal digest."""
        return CreateResult(_line(props), self._train(props))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """Trains for a new digest, then removes the old job's record."""
        outs = self._train(news)
        if olds["name"] != news["name"]:
            _Jobs(dlc_client(self.cloud()), olds["name"]).remove_all()
        return UpdateResult(outs)

    def read(self, id_: str, props: Properties) -> ReadResult:
        """The job and its metrics as they are; gone when the artifact is."""
        artifact = self._artifact(props)
        if artifact is None:
            return ReadResult("", {})
        inputs = {name: props[name] for name in _INPUTS if name in props}
        status = str(props.get("status") or "Succeeded")
        if props.get("job_id"):
            try:
                status = str(_Jobs(dlc_client(self.cloud()), props["name"]).get(props["job_id"]).status)
            except ApiError as error:
                if not error.not_found:
                    raise
                return ReadResult(id_, {**inputs, "job_id": "", "status": "Succeeded", "metrics": artifact}, inputs)
        outs = {**inputs, "job_id": props.get("job_id", ""), "status": status, "metrics": artifact}
        return ReadResult(id_, outs, inputs)

    def delete(self, _id: str, props: Properties) -> None:
        """Stops and deletes the job's record; the artifact belongs to the bucket."""
        _Jobs(dlc_client(self.cloud()), props["name"]).remove_all()

    def _train(self, props: Properties) -> Properties:
        inputs = {name: props[name] for name in _INPUTS if name in props}
        jobs = _Jobs(dlc_client(self.cloud()), props["name"])
        existing = jobs.find()
        metrics = self._artifact(props)
        if metrics is not None:
            done = next((str(job.job_id) for job in existing if job.status == "Succeeded"), "")
            pulumi.log.info(f"{props['name']}: the artifact is there already")
            return {**inputs, "job_id": done, "status": "Succeeded", "metrics": metrics}
        alive = [job for job in existing if job.status not in ENDED]
        for job in existing:
            if job not in alive[:1]:
                jobs.remove(str(job.job_id))
        if alive:
            job_id = str(alive[0].job_id)
            pulumi.log.info(f"{props['name']}: job {job_id} is {alive[0].status}, watching it")
        else:
            job_id = jobs.create(props)
            pulumi.log.info(f"{props['name']}: job {job_id} submitted")
        watch(jobs, job_id, int(props["max_minutes"]), pulumi.log.info)
        metrics = self._artifact(props)
        if metrics is None:
            place = f"oss://{props['bucket']}/{props['prefix']}{MANIFEST}"
            raise TrainingError(f"job {job_id} succeeded but left no {place}: does its command write there?")
        return {**inputs, "job_id": job_id, "status": "Succeeded", "metrics": metrics}

    def _artifact(self, props: Mapping[str, Any]) -> dict[str, Any] | None:
        """The metrics of a complete artifact, or None."""
        client = oss_client(self.cloud())
        try:
            if read_object(client, props["bucket"], props["prefix"] + MANIFEST) is None:
                return None
            content = read_object(client, props["bucket"], props["prefix"] + METRICS)
        except ApiError as error:
            if error.code == "NoSuchBucket":
                return None
            raise
        metrics: dict[str, Any] = json.loads(content or b"{}")
        return metrics


def watch(jobs: _Jobs, job_id: str, max_minutes: int, report: Report) -> None:
    """Reports the job's states and output until it has succeeded.

    Raises:
        TrainingError: it failed, was stopped, or waits for too long.
        ApiError: DLC can't be asked.
    """
    status = ""
    seen: list[str] = []
    deadline = time.monotonic() + (max_minutes + _QUEUE_MINUTES) * 60
    while True:
        job = jobs.get(job_id)
        answer = jobs.log(job)
        for line in new_lines(seen, answer):
            report(f"{jobs.name}: {line}")
        seen = answer or seen
        if job.status != status:
            status = str(job.status)
            report(f"{jobs.name}: {status}")
        if status == "Succeeded":
            return
        if status in ENDED:
            output = "\n".join(f"  {line}" for line in seen[-_LAST_LINES:])
            reason = job.reason_message or job.reason_code or "no reason given"
            raise TrainingError(f"job {job_id} ({jobs.name}) {status.lower()}: {reason}\n{output}".rstrip())
        if time.monotonic() > deadline:
            raise TrainingError(f"job {job_id} ({jobs.name}) is still {status}; the next update watches it again")
        time.sleep(_POLL_S)


def _line(props: Mapping[str, Any]) -> str:
    """What stays the same from one digest to the next."""
    return str(props["name"]).removesuffix(f"-{str(props['digest'])[:12]}")


class TrainingJob(Resource, module="ragrec", name="TrainingJob"):
    """A trained artifact and the job that made it.

    Attributes:
        job_id: of the job; empty when only its artifact is left.
        status: ``Succeeded``.
        metrics: what the job wrote into ``metrics.json``.
        prefix: where the artifact lies in the bucket.
    """

    job_id: pulumi.Output[str]
    status: pulumi.Output[str]
    metrics: pulumi.Output[dict[str, Any]]
    prefix: pulumi.Output[str]

    def __init__(self, name: str, args: TrainingJobArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(TrainingJobProvider(), name, {**_properties(args), **dict.fromkeys(_OUTPUTS)}, opts)


def _properties(args: TrainingJobArgs) -> Properties:
    return {**asdict(args), "environment": dict(args.environment)}
