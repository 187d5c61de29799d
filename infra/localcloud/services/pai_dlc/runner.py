"""Takes jobs through their life: mounts filled, pods started and watched, results pushed back, limits enforced."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from infra.localcloud.hypervisor.machine import Hypervisor, MachineSpec, MachineStatus, Mount
from infra.localcloud.service import ApiError
from infra.localcloud.services.pai_dlc.job import (
    TERMINAL,
    Record,
    environment,
    move,
    note,
    seconds_since,
)
from infra.localcloud.services.pai_dlc.logs import PodLog
from infra.localcloud.services.pai_dlc.request import DataSource
from infra.localcloud.store import Collection

_MAX_JOBS = 2  # at once; more stay in Queuing
_POLL_S = 0.3
_PUSH_S = 4.0  # between two uploads of what pods have written
_PUSH_ATTEMPTS = 5

_POD_STATUS = {"starting": "Pending", "running": "Running"}


class FolderMount(Protocol):
    """A folder of the host that stands for a prefix of a bucket."""

    def pull(self) -> object:
        """Brings the folder up to date from the bucket."""
        ...

    def push(self) -> object:
        """Uploads what changed in the folder since the last pull or push."""
        ...


MountFactory = Callable[[DataSource, Path], FolderMount]


class _JobEndedError(Exception):
    """The job reached a final state."""

    def __init__(self, status: str, code: str = "", reason: str = "") -> None:
        super().__init__(reason)
        self.status, self.code, self.reason = status, code, reason


class Runner:
    """One thread a job, from wherever the record says the job is; threads of finished jobs are gone."""

    def __init__(
        self, jobs: Collection, folder: Path, hypervisor: Callable[[], Hypervisor], mount: MountFactory
    ) -> None:
        self._jobs = jobs
        self._folder = folder
        self._hypervisor = hypervisor
        self._mount = mount
        self._slots = threading.BoundedSemaphore(_MAX_JOBS)
        self._closing = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._capturing = threading.Lock()

    def follow(self, job_id: str) -> None:
        """Starts, or takes up again, the job's thread."""
        thread = threading.Thread(target=self._run, args=(job_id,), name=f"dlc {job_id}", daemon=True)
        self._threads[job_id] = thread
        thread.start()

    def close(self) -> None:
        """Leaves jobs as they are, for another runner to take up, and waits for the threads."""
        self._closing.set()
        for thread in list(self._threads.values()):
            thread.join(timeout=10)

    def forget(self, job_id: str) -> None:
        """Removes what a finished job left here."""
        record = self._jobs.get(job_id)
        for pod in (record or {}).get("Pods", []):
            self._hypervisor().delete(pod["PodId"])
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def log(self, record: Record, pod_id: str) -> PodLog:
        """The pod's output so far; kept until the job is deleted."""
        log = PodLog(self._folder / record["JobId"] / "logs" / pod_id)
        if record["Status"] not in TERMINAL:
            self._capture(log, pod_id)
        return log

    def _run(self, job_id: str) -> None:
        try:
            self._queue(job_id)
            try:
                self._prepare_and_watch(job_id)
            finally:
                self._slots.release()
        except _JobEndedError as end:
            self._finish(job_id, end)
        except (InterruptedError, sqlite3.ProgrammingError):
            return  # the daemon goes down and has closed its state; the next one takes the job up
        except (RuntimeError, OSError) as error:
            # What the hypervisor or the disk refuses ends this job; its machines go when it is deleted.
            self._finish(job_id, _JobEndedError("Failed", "InternalError", str(error)))
        finally:
            self._threads.pop(job_id, None)

    def _queue(self, job_id: str) -> None:
        """Waits for one of the slots and takes it."""
        record = self._record(job_id)
        if record["Status"] == "Creating":
            self._move(job_id, "Queuing")
        while not self._slots.acquire(timeout=_POLL_S):
            self._check_stop(job_id)

    def _prepare_and_watch(self, job_id: str) -> None:
        record = self._record(job_id)
        sources = [DataSource.model_validate(source) for source in record["Request"]["DataSources"]]
        folders = [self._folder / job_id / "mounts" / str(index) for index in range(len(sources))]
        fresh = record["Status"] != "Running"
        if fresh:
            self._check_stop(job_id)
            self._move(job_id, "EnvPreparing")
        mounts = [self._mounted(source, folder, pull=fresh) for source, folder in zip(sources, folders, strict=True)]
        if fresh:
            self._check_stop(job_id)
            self._start_pods(record, sources, folders)
            self._move(job_id, "Running")
        writable = [m for source, m in zip(sources, mounts, strict=True) if source.mount_access == "RW"]
        try:
            self._watch(job_id, writable)
        except _JobEndedError as end:
            self._collect(job_id)
            self._push_at_last(writable, end)
            raise

    def _mounted(self, source: DataSource, folder: Path, *, pull: bool) -> FolderMount:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mount = self._mount(source, folder)
            if pull:
                mount.pull()
        except (ApiError, OSError) as error:
            raise _JobEndedError("Failed", "MountFailed", f"mounting {source.uri}: {error}") from error
        return mount

    def _start_pods(self, record: Record, sources: list[DataSource], folders: list[Path]) -> None:
        mounts = [
            Mount(folder, source.mount_path.rstrip("/"), read_only=source.mount_access == "RO")
            for source, folder in zip(sources, folders, strict=True)
        ]
        for rank, pod in enumerate(record["Pods"]):
            self._hypervisor().start(
                MachineSpec(
                    id=pod["PodId"],
                    kind="pod",
                    hostname=pod["PodId"],
                    address=pod["Ip"],
                    command=record["Request"]["UserCommand"],
                    environment=environment(record, rank),
                    mounts=mounts,
                )
            )

    def _watch(self, job_id: str, writable: list[FolderMount]) -> None:
        """Returns only by raising how the job ended."""
        pushed = time.monotonic()
        while True:
            record = self._record(job_id)
            self._check_stop(job_id)
            minutes = record["Request"]["JobMaxRunningTimeMinutes"]
            if minutes and seconds_since(record["GmtRunningTime"]) > minutes * 60:
                raise _JobEndedError(
                    "Stopped", "JobMaxRunningTimeExceeded", f"the job ran longer than {minutes} minutes"
                )
            statuses = {pod["PodId"]: self._status(pod["PodId"]) for pod in record["Pods"]}
            self._note_pods(job_id, statuses)
            for pod_id in statuses:
                self._capture(PodLog(self._folder / job_id / "logs" / pod_id), pod_id)
            for pod_id, status in statuses.items():
                if status.state in ("failed", "stopped") or status.exit_code:
                    raise _JobEndedError("Failed", "PodFailed", _why(pod_id, status))
            if all(status.state == "exited" for status in statuses.values()):
                raise _JobEndedError("Succeeded")
            if time.monotonic() - pushed > _PUSH_S:
                self._push_meanwhile(job_id, writable)
                pushed = time.monotonic()
            self._closing.wait(_POLL_S)

    def _status(self, pod_id: str) -> MachineStatus:
        try:
            return self._hypervisor().status(pod_id)
        except KeyError:
            return MachineStatus("failed", detail="the pod is gone")

    def _push_meanwhile(self, job_id: str, writable: list[FolderMount]) -> None:
        try:
            for mount in writable:
                mount.push()
        except (ApiError, OSError) as error:
            # Tried again in a moment, and at the end it counts.
            text = f"upload failed, will be repeated: {error}"
            self._jobs.update(job_id, lambda record: note(record, text))

    def _push_at_last(self, writable: list[FolderMount], end: _JobEndedError) -> None:
        for attempt in range(_PUSH_ATTEMPTS):
            try:
                for mount in writable:
                    mount.push()
                return
            except (ApiError, OSError) as error:
                if attempt == _PUSH_ATTEMPTS - 1:
                    if end.status == "Succeeded":
                        raise _JobEndedError("Failed", "UploadFailed", f"uploading the results: {error}") from error
                    return
                time.sleep(_POLL_S * 2**attempt)

    def _collect(self, job_id: str) -> None:
        """Ends the pods that still run, keeps what all of them wrote, and removes them."""
        for pod in self._record(job_id)["Pods"]:
            self._hypervisor().stop(pod["PodId"])
            self._capture(PodLog(self._folder / job_id / "logs" / pod["PodId"]), pod["PodId"])
            self._hypervisor().delete(pod["PodId"])

    def _finish(self, job_id: str, end: _JobEndedError) -> None:
        shutil.rmtree(self._folder / job_id / "mounts", ignore_errors=True)

        def change(record: Record) -> None:
            for pod in record["Pods"]:
                if pod["Status"] in ("Pending", "Running"):
                    pod["Status"] = "Succeeded" if end.status == "Succeeded" else "Failed"
            move(record, end.status, end.code, end.reason)

        self._jobs.update(job_id, change)

    def _note_pods(self, job_id: str, statuses: dict[str, MachineStatus]) -> None:
        def change(record: Record) -> None:
            for pod in record["Pods"]:
                status = statuses[pod["PodId"]]
                shown = _POD_STATUS.get(status.state) or ("Failed" if status.exit_code != 0 else "Succeeded")
                if shown != pod["Status"]:
                    pod["Status"] = shown
                    pod["ExitCode"] = status.exit_code
                    note(record, f"pod is {shown}", pod["PodId"])

        before = self._record(job_id)
        change(before)
        if before != self._record(job_id):
            self._jobs.update(job_id, change)

    def _capture(self, log: PodLog, pod_id: str) -> None:
        try:
            with self._capturing:
                log.update(self._hypervisor().console(pod_id))
        except KeyError:
            return  # not started yet, or gone: what was captured stays

    def _record(self, job_id: str) -> Record:
        record = self._jobs.get(job_id)
        if record is None:
            raise InterruptedError(f"{job_id} was deleted")
        return record

    def _move(self, job_id: str, status: str) -> None:
        self._jobs.update(job_id, lambda record: move(record, status))

    def _check_stop(self, job_id: str) -> None:
        if self._closing.is_set():
            raise InterruptedError(job_id)
        if self._record(job_id)["StopRequested"]:
            raise _JobEndedError("Stopped", "StoppedByUser", "stopped by the user")


def _why(pod_id: str, status: MachineStatus) -> str:
    if status.exit_code is not None:
        return f"{pod_id} ended with exit code {status.exit_code}"
    return f"{pod_id}: {status.detail or status.state}"
