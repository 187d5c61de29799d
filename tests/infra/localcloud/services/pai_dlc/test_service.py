"""PAI DLC driven by the official SDK; pods are real processes."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from alibabacloud_pai_dlc20201203 import models
from alibabacloud_pai_dlc20201203.client import Client

from infra.localcloud.services.pai_dlc.service import PaiDlc
from serving.clients.openapi import ApiError, call
from tests.infra.localcloud.services.pai_dlc.conftest import FolderDlc, TestCloud


def request(command: str, **changes: Any) -> models.CreateJobRequest:
    spec = models.JobSpec(type="Worker", image="registry/image:1", pod_count=1, ecs_spec="ecs.g6.large")
    values: dict[str, Any] = {
        "display_name": "job",
        "job_type": "PyTorchJob",
        "job_specs": [spec],
        "user_command": command,
        **changes,
    }
    return models.CreateJobRequest(**values)


def create(client: Client, command: str, **changes: Any) -> str:
    return str(client.create_job(request(command, **changes)).body.job_id)


def refused(client: Client, wanted: models.CreateJobRequest) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call("CreateJob", lambda: client.create_job(wanted))
    return caught.value


def wait(client: Client, job_id: str, *statuses: str, seconds: float = 20) -> models.GetJobResponseBody:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.get_job(job_id, models.GetJobRequest(need_detail=True)).body
        if job.status in statuses:
            return job
        time.sleep(0.05)
    raise AssertionError(f"{job_id} is {job.status}: {job.reason_message}")


def logs(client: Client, job_id: str, pod_id: str, **options: Any) -> list[str]:
    return list(client.get_pod_logs(job_id, pod_id, models.GetPodLogsRequest(**options)).body.logs)


def source(cloud: TestCloud, bucket: str, prefix: str, access: str) -> models.CreateJobRequestDataSources:
    (cloud.buckets / bucket / prefix).mkdir(parents=True, exist_ok=True)
    return models.CreateJobRequestDataSources(
        uri=f"oss://{bucket}.oss-cn-hangzhou.aliyuncs.com/{prefix}/", mount_path=f"/mnt/{prefix}", mount_access=access
    )


def test_a_job_goes_through_its_states_and_leaves_its_results(client: Client, cloud: TestCloud) -> None:
    sources = [source(cloud, "data", "raw", "RO"), source(cloud, "data", "out", "RW")]
    (cloud.buckets / "data/raw/in.txt").write_text("content\n")
    job_id = create(
        client,
        "cat /mnt/raw/in.txt; echo seen $GREETING $RANK/$WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT;"
        " echo 42 > /mnt/out/metric",
        envs={"GREETING": "hello"},
        data_sources=sources,
    )
    job = wait(client, job_id, "Succeeded", "Failed")
    assert (job.status, job.reason_message) == ("Succeeded", "")
    assert [step.status for step in job.status_history] == [
        "Creating",
        "Queuing",
        "EnvPreparing",
        "Running",
        "Succeeded",
    ]
    assert job.gmt_create_time <= job.gmt_running_time <= job.gmt_successed_time == job.gmt_finish_time
    [pod] = job.pods
    assert (pod.status, pod.ip, pod.type) == ("Succeeded", "127.81.0.1", "Worker")
    assert logs(client, job_id, pod.pod_id) == ["content", f"seen hello 0/1 at {pod.ip}:23456"]
    assert logs(client, job_id, pod.pod_id, max_lines=1) == [f"seen hello 0/1 at {pod.ip}:23456"]
    assert logs(client, job_id, pod.pod_id, start_time="2000-01-01T00:00:00Z")[0] == "content"
    assert logs(client, job_id, pod.pod_id, end_time="2000-01-01T00:00:00Z") == []
    assert (cloud.buckets / "data/out/metric").read_text() == "42\n"
    assert cloud.hypervisor.machines() == []


def test_logs_can_be_read_while_the_job_runs(client: Client) -> None:
    job_id = create(client, "echo started; sleep 30")
    pod = wait(client, job_id, "Running").pods[0]
    deadline = time.monotonic() + 10
    while logs(client, job_id, pod.pod_id) != ["started"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.stop_job(job_id)
    job = wait(client, job_id, "Stopped")
    assert job.reason_code == "StoppedByUser"
    assert logs(client, job_id, pod.pod_id) == ["started"]


def test_a_failing_command_fails_the_job_and_keeps_partial_results(client: Client, cloud: TestCloud) -> None:
    job_id = create(
        client, "echo part > /mnt/out/part; echo broken >&2; exit 3", data_sources=[source(cloud, "d00", "out", "RW")]
    )
    job = wait(client, job_id, "Failed")
    assert job.reason_message.endswith("-worker-0 ended with exit code 3")
    assert logs(client, job_id, job.pods[0].pod_id) == ["broken"]
    assert (cloud.buckets / "d00/out/part").exists()


def test_several_pods_know_each_other(client: Client) -> None:
    specs = [
        models.JobSpec(type="Worker", image="i", pod_count=2, ecs_spec="ecs.g6.large"),
        models.JobSpec(type="Master", image="i", pod_count=1, ecs_spec="ecs.g6.large"),
    ]
    job_id = create(client, "echo $RANK of $WORLD_SIZE, master $MASTER_ADDR", job_specs=specs)
    job = wait(client, job_id, "Succeeded")
    assert [pod.type for pod in job.pods] == ["Master", "Worker", "Worker"]
    seen = [logs(client, job_id, pod.pod_id) for pod in job.pods]
    assert seen == [[f"{rank} of 3, master {job.pods[0].ip}"] for rank in range(3)]
    assert (job.request_cpu, job.request_memory) == (6, "24Gi")


def test_one_failing_pod_ends_the_others(client: Client, cloud: TestCloud) -> None:
    spec = models.JobSpec(type="Worker", image="i", pod_count=2, ecs_spec="ecs.g6.large")
    job_id = create(client, 'if [ "$RANK" = 1 ]; then exit 7; fi; sleep 60', job_specs=[spec])
    assert "exit code 7" in wait(client, job_id, "Failed").reason_message
    assert cloud.hypervisor.machines() == []


def test_a_missing_bucket_fails_the_job(client: Client) -> None:
    lost = models.CreateJobRequestDataSources(
        uri="oss://lost.oss-cn-hangzhou-internal.aliyuncs.com/", mount_path="/mnt/lost", mount_access="RO"
    )
    job_id = create(client, "true", data_sources=[lost])
    job = wait(client, job_id, "Failed")
    assert (job.reason_code, job.reason_message) == (
        "MountFailed",
        "mounting oss://lost.oss-cn-hangzhou-internal.aliyuncs.com/: no such bucket",
    )


def test_a_host_that_can_not_start_pods_fails_the_job(
    client: Client, cloud: TestCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("Java 17 or newer not found")

    monkeypatch.setattr(cloud.hypervisor, "start", refuse)
    job = wait(client, create(client, "true"), "Failed")
    assert (job.reason_code, job.reason_message) == ("InternalError", "Java 17 or newer not found")
    client.delete_job(job.job_id)


def test_the_running_time_is_limited(client: Client, service: PaiDlc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.localcloud.services.pai_dlc.runner.seconds_since", lambda moment: 61.0)
    job_id = create(client, "sleep 60", job_max_running_time_minutes=1)
    assert wait(client, job_id, "Stopped").reason_code == "JobMaxRunningTimeExceeded"


def test_a_job_outlives_the_daemon(client: Client, service: PaiDlc, cloud: TestCloud) -> None:
    job_id = create(client, "sleep 1; echo done > /mnt/out/done", data_sources=[source(cloud, "d00", "out", "RW")])
    wait(client, job_id, "Running")
    service.close()
    assert client.get_job(job_id, models.GetJobRequest()).body.status == "Running"
    successor = FolderDlc(cloud)
    successor.start()
    try:
        wait(client, job_id, "Succeeded")
    finally:
        successor.close()
    assert (cloud.buckets / "d00/out/done").exists()


def test_more_jobs_than_slots_wait(client: Client) -> None:
    jobs = [create(client, "sleep 30") for _ in range(3)]
    for job_id in jobs[:2]:
        wait(client, job_id, "Running")
    assert wait(client, jobs[2], "Queuing").gmt_running_time is None
    client.stop_job(jobs[2])
    assert [step.status for step in wait(client, jobs[2], "Stopped").status_history][-2:] == ["Queuing", "Stopped"]
    for job_id in jobs[:2]:
        client.stop_job(job_id)
        wait(client, job_id, "Stopped")


def test_jobs_are_listed_by_name_and_status(client: Client, service: PaiDlc) -> None:
    first = create(client, "true", display_name="ragrec-dev-a")
    wait(client, first, "Succeeded")
    create(client, "exit 1", display_name="other")
    found = client.list_jobs(models.ListJobsRequest(display_name="ragrec-dev", status="Succeeded")).body
    assert ([job.job_id for job in found.jobs], found.total_count) == ([first], 1)
    assert client.list_jobs(models.ListJobsRequest(page_size=1)).body.total_count == 2
    assert f"pai_dlc:job {first}" in service.inventory()


def test_only_ended_jobs_can_be_deleted(client: Client, service: PaiDlc) -> None:
    job_id = create(client, "sleep 30")
    with pytest.raises(ApiError, match=r"InvalidJobStatus: .* stop it first"):
        call("DeleteJob", lambda: client.delete_job(job_id))
    client.stop_job(job_id)
    wait(client, job_id, "Stopped")
    with pytest.raises(ApiError, match="can't be stopped"):
        call("StopJob", lambda: client.stop_job(job_id))
    client.delete_job(job_id)
    with pytest.raises(ApiError, match="JobNotFound") as caught:
        call("GetJob", lambda: client.get_job(job_id, models.GetJobRequest()))
    assert caught.value.not_found
    assert service.inventory() == []


def test_events_tell_what_happened(client: Client) -> None:
    job_id = create(client, "true")
    pod_id = wait(client, job_id, "Succeeded").pods[0].pod_id
    lines = client.get_job_events(job_id, models.GetJobEventsRequest()).body.events
    assert lines[0].endswith("job is Creating")
    assert lines[-1].endswith("job is Succeeded")
    assert all(
        pod_id in line for line in client.get_pod_events(job_id, pod_id, models.GetPodEventsRequest()).body.events
    )


def test_priority_can_be_changed(client: Client) -> None:
    job_id = create(client, "true")
    client.update_job(job_id, models.UpdateJobRequest(priority=7))
    assert client.get_job(job_id, models.GetJobRequest()).body.priority == 7
    wait(client, job_id, "Succeeded")


def test_specs_are_listed(client: Client) -> None:
    found = client.list_ecs_specs(models.ListEcsSpecsRequest(accelerator_type="GPU")).body
    assert "ecs.gn7i-c8g1.2xlarge" in {spec.instance_type for spec in found.ecs_specs}


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"display_name": None}, "MissingDisplayName", "DisplayName is mandatory"),
        ({"job_type": "TFJob"}, "InvalidParameter", "JobType: "),
        ({"resource_id": "quota1"}, "InvalidParameter", "ResourceId: "),
        ({"code_source": models.CreateJobRequestCodeSource(code_source_id="c")}, "InvalidParameter", "CodeSource"),
        ({"priority": 12}, "InvalidParameter", "Priority: "),
        ({"envs": {"A B": "c"}}, "InvalidParameter", "Envs: 'A B'"),
        ({"job_specs": []}, "InvalidParameter", "JobSpecs: "),
        (
            {"job_specs": [models.JobSpec(type="Worker", image="i", ecs_spec="ecs.unknown")]},
            "InvalidParameter",
            "JobSpecs\\[0\\]: EcsSpec 'ecs.unknown' is not one of",
        ),
        (
            {
                "data_sources": [
                    models.CreateJobRequestDataSources(
                        uri="oss://data.oss-cn-beijing.aliyuncs.com/", mount_path="/mnt/a"
                    )
                ]
            },
            "InvalidParameter",
            "DataSources\\[0\\].Uri is in cn-beijing",
        ),
        (
            {"data_sources": [models.CreateJobRequestDataSources(uri="/data", mount_path="/mnt/a")]},
            "InvalidParameter",
            "DataSources\\[0\\].Uri: '/data' is not of the form",
        ),
        (
            {"data_sources": [models.CreateJobRequestDataSources(data_source_id="d-1", mount_path="/mnt/a")]},
            "MissingUri",
            "",
        ),
    ],
)
def test_a_wrong_body_is_refused_by_name(client: Client, changes: dict[str, Any], code: str, message: str) -> None:
    error = refused(client, request("true", **changes))
    assert (error.status, error.code) == (400, code)
    assert re.search(message, str(error))
