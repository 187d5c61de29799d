"""The training job against the local cloud's PAI DLC; pods are real processes, buckets are folders."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_pai_dlc20201203 import models
from alibabacloud_pai_dlc20201203.client import Client
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime import rpc

from infra.resources import training_job
from infra.resources.cloud import dlc_client
from infra.resources.training_job import (
    DataSource,
    TrainingError,
    TrainingJobArgs,
    TrainingJobProvider,
    new_lines,
    plan,
    validate,
)
from serving.clients.openapi import ApiError
from tests.infra.resources.local_cloud import BUCKET, SETTINGS, Local

UNKNOWN = rpc.deserialize_property(rpc.UNKNOWN, True)
DIGEST = "0123456789ab" + "c" * 52
WRITE = (
    "mkdir -p /mnt/artifacts/{d}; echo '{{\"recall\": 0.5}}' > /mnt/artifacts/{d}/metrics.json; echo step 1; {then}"
)
FINISH = "echo '{{}}' > /mnt/artifacts/{d}/MANIFEST.json"


def properties(digest: str = DIGEST, then: str = FINISH, **changes: Any) -> dict[str, Any]:
    short = digest[:12]
    args = TrainingJobArgs(
        name=f"ragrec-dev-{short}",
        digest=digest,
        command=WRITE.format(d=short, then=then.format(d=short)),
        image="registry/image:1",
        instance_type="ecs.g6.large",
        data_sources=[
            DataSource(f"oss://{BUCKET}.oss-cn-hangzhou-internal.aliyuncs.com/artifacts/", "/mnt/artifacts", "RW")
        ],
        max_minutes=5,
        bucket=BUCKET,
        prefix=f"artifacts/{short}/",
    )
    return {**asdict(args), **changes}


@pytest.fixture
def client(local: Local) -> Client:
    return dlc_client(SETTINGS)


@pytest.fixture
def provider(local: Local, monkeypatch: pytest.MonkeyPatch) -> TrainingJobProvider:
    monkeypatch.setattr(training_job, "_POLL_S", 0.1)
    monkeypatch.setattr(TrainingJobProvider, "settings", SETTINGS)
    return TrainingJobProvider()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr("pulumi.log.info", lambda line, *_: lines.append(line))
    return lines


def job_names(client: Client) -> list[str]:
    return [job.display_name for job in client.list_jobs(models.ListJobsRequest(page_size=100)).body.jobs]


def test_a_job_trains_and_its_progress_shows(provider: TrainingJobProvider, said: list[str], client: Client) -> None:
    result = provider.create(properties())
    assert result.id == "ragrec-dev"
    assert result.outs is not None
    assert (result.outs["status"], result.outs["metrics"]) == ("Succeeded", {"recall": 0.5})
    name = properties()["name"]
    assert f"{name}: step 1" in said
    assert said[-1] == f"{name}: Succeeded"
    assert job_names(client) == [name]


def test_an_equal_digest_is_not_trained_again(
    provider: TrainingJobProvider,
    client: Client,
    local: Local,
) -> None:
    first = provider.create(properties()).outs
    again = provider.create(properties(then="exit 1")).outs
    assert again is not None
    assert first is not None
    assert again["job_id"] == first["job_id"]
    client.delete_job(first["job_id"])
    without_job = provider.create(properties(then="exit 1")).outs
    assert without_job is not None
    assert (without_job["job_id"], without_job["metrics"]) == ("", {"recall": 0.5})


def test_an_interrupted_update_is_taken_up(provider: TrainingJobProvider, client: Client, said: list[str]) -> None:
    running = properties(then="sleep 1; " + FINISH)
    job_id = client.create_job(training_job.request(running)).body.job_id
    outs = provider.create(running).outs
    assert outs is not None
    assert outs["job_id"] == job_id
    assert any("watching it" in line for line in said)


def test_two_updates_at_once_share_one_job(provider: TrainingJobProvider, client: Client) -> None:
    props = properties(then="sleep 2; " + FINISH)
    results: list[dict[str, Any] | None] = []
    threads = [threading.Thread(target=lambda: results.append(provider.create(props).outs)) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert len({outs["job_id"] for outs in results if outs}) == 1
    assert len(job_names(client)) == 1


def test_a_failed_job_says_why_and_is_replaced_next_time(provider: TrainingJobProvider, client: Client) -> None:
    with pytest.raises(TrainingError, match=r"failed: .* exit code 3\n  step 1\n  too few pairs"):
        provider.create(properties(then="echo too few pairs; exit 3"))
    outs = provider.create(properties()).outs
    assert outs is not None
    assert outs["status"] == "Succeeded"
    assert len(job_names(client)) == 1


def test_a_job_without_an_artifact_is_a_failure(provider: TrainingJobProvider) -> None:
    with pytest.raises(TrainingError, match=r"left no oss://ragrec-test-data/artifacts/0123456789ab/MANIFEST\.json"):
        provider.create(properties(then="true"))


def test_a_refused_job_is_an_error_in_one_line(provider: TrainingJobProvider) -> None:
    with pytest.raises(ApiError, match=r"PAI DLC CreateJob: InvalidParameter: JobSpecs.*ecs\.none"):
        provider.create(properties(instance_type="ecs.none"))


def test_a_new_digest_trains_and_removes_the_old_record(
    provider: TrainingJobProvider,
    client: Client,
    local: Local,
) -> None:
    old = provider.create(properties()).outs
    other = "f" * 64
    new = provider.update("ragrec-dev", old or {}, properties(other)).outs
    assert new is not None
    assert new["prefix"] == f"artifacts/{other[:12]}/"
    assert job_names(client) == [f"ragrec-dev-{other[:12]}"]
    assert local.get("artifacts/0123456789ab/MANIFEST.json") == b"{}\n"


def test_read_tells_what_is_there(provider: TrainingJobProvider, client: Client, local: Local) -> None:
    outs = provider.create(properties()).outs
    assert outs is not None
    live = provider.read("ragrec-dev", outs)
    assert (live.id, live.outs, live.inputs) == ("ragrec-dev", outs, properties())
    client.delete_job(outs["job_id"])
    after = provider.read("ragrec-dev", outs).outs
    assert after is not None
    assert after["job_id"] == ""
    local.remove("artifacts/0123456789ab/MANIFEST.json")
    assert provider.read("ragrec-dev", outs).id == ""


def test_read_does_not_take_an_outage_for_a_deletion(
    provider: TrainingJobProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ApiError("read", 403, "AccessDenied", "no")

    monkeypatch.setattr(training_job, "read_object", refuse)
    with pytest.raises(ApiError, match="AccessDenied"):
        provider.read("ragrec-dev", properties())


def test_delete_stops_what_runs_and_leaves_nothing(provider: TrainingJobProvider, client: Client) -> None:
    props = properties(then="sleep 60")
    client.create_job(training_job.request(props))
    client.create_job(training_job.request(props))
    provider.delete("ragrec-dev", props)
    assert job_names(client) == []
    provider.delete("ragrec-dev", props)


def test_diff_follows_the_digest(provider: TrainingJobProvider, said: list[str]) -> None:
    old = {**properties(), "job_id": "dlc1", "status": "Succeeded", "metrics": {}}
    assert provider.diff("x", old, properties()).changes is False
    assert provider.diff("x", old, properties("f" * 64)).changes is True
    assert said[0].startswith("train ragrec-dev-ffffffffffff on 1 x ecs.g6.large, 5 minutes at most")
    assert provider.diff("x", old, {**properties(), "digest": UNKNOWN}).changes is True


def test_steps_are_told_in_words() -> None:
    new = properties()
    [step] = plan({}, new)
    assert step.startswith("train ragrec-dev-0123456789ab on 1 x ecs.g6.large, 5 minutes at most")
    assert step.endswith("unless its artifact is in oss://ragrec-test-data/artifacts/0123456789ab/")
    assert plan(new, new) == []
    assert plan(new, {**new, "max_minutes": 7}) == ["note max_minutes: the digest is the same, nothing is trained"]
    assert plan(new, properties("f" * 64))[1].startswith("delete the record of job ragrec-dev-0123456789ab")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"digest": "abc", "name": "x-abc"}, "digest"),
        ({"name": "ragrec-dev-other"}, "name"),
        ({"max_minutes": 0}, "max_minutes"),
        ({"pod_count": 1.5}, "pod_count"),
        ({"prefix": "/artifacts"}, "prefix"),
        ({"data_sources": [{"uri": "oss://data/raw/", "mount_path": "/mnt", "access": "RO"}]}, "data_sources"),
        (
            {"data_sources": [{"uri": "oss://b.oss-r.aliyuncs.com/", "mount_path": "/mnt", "access": "R"}]},
            "data_sources",
        ),
    ],
)
def test_wrong_inputs_are_named(changes: dict[str, Any], name: str) -> None:
    assert list(validate({**properties(), **changes})) == [name]
    assert validate(properties()) == {}


def test_check_bears_unknown_values() -> None:
    result = TrainingJobProvider().check({}, {**properties(), "command": UNKNOWN})
    assert result.failures == []


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 10), st.data())
def test_every_line_of_a_growing_log_is_reported_once(log: list[str], window: int, data: st.DataObject) -> None:
    seen: list[str] = []
    reported: list[str] = []
    known = 0
    while known < len(log):
        known = data.draw(st.integers(known, min(known + window, len(log))))
        answer = log[:known]
        reported += new_lines(seen, answer)
        seen = answer or seen
        if known < len(log):
            known += 1
    reported += new_lines(seen, log)
    assert reported == log


def test_a_log_longer_than_one_answer_goes_on(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(100)]
    assert new_lines(lines[:50], lines[10:60]) == lines[50:60]
    assert new_lines(lines[:10], lines[50:60]) == lines[50:60]
    assert new_lines([], []) == []
    assert json.dumps(new_lines(lines, [])) == "[]"
