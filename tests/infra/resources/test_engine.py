"""Training job and AIRec instance driven by the real engine, against a local cloud that listens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from alibabacloud_pai_dlc20201203 import models

from infra.localcloud.services.airec.instance import BOUGHT
from infra.resources.cloud import dlc_client
from tests.infra.engine.project import Project
from tests.infra.resources.local_cloud import BUCKET, SETTINGS, Local

PROGRAM = f"""\
import pulumi
from infra.resources.airec_instance import AirecInstance, AirecInstanceArgs
from infra.resources.training_job import DataSource, TrainingJob, TrainingJobArgs

digest = pulumi.Config().require("digest")
folder = f"/mnt/artifacts/{{digest[:12]}}"
job = TrainingJob("training", TrainingJobArgs(
    name=f"probe-{{digest[:12]}}",
    digest=digest,
    command=f"mkdir {{folder}}; echo epoch 1 of 1; echo '{{{{\\"recall\\": 0.5}}}}' > {{folder}}/metrics.json;"
            f" echo '{{{{}}}}' > {{folder}}/MANIFEST.json",
    image="registry/image:1",
    instance_type="ecs.g6.large",
    data_sources=[DataSource("oss://{BUCKET}.oss-cn-hangzhou.aliyuncs.com/artifacts/", "/mnt/artifacts", "RW")],
    max_minutes=5,
    bucket="{BUCKET}",
    prefix=f"artifacts/{{digest[:12]}}/",
))
airec = AirecInstance("airec", AirecInstanceArgs(instance_id=pulumi.Config().get("airec")))
pulumi.export("metrics", job.metrics)
pulumi.export("job", job.job_id)
pulumi.export("airec", airec.id)
"""
PROJECT = "name: probe\nruntime:\n  name: python\n  options:\n    virtualenv: .venv\n"


@pytest.mark.engine
def test_the_life_of_both(local: Local, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", {"Pulumi.yaml": PROJECT, "__main__.py": PROGRAM})
    project.variables.update(local.environment)
    project.pulumi("stack", "init", "test")
    for key, value in (
        ("alicloud:region", "cn-hangzhou"),
        ("alicloud:protocol", "HTTP"),
        ("digest", "a" * 64),
    ):
        project.pulumi("config", "set", key, value)

    refused = project.pulumi("preview", code=1)
    assert "AIRec instances are bought by the month" in refused
    project.pulumi("config", "set", "airec", BOUGHT)
    assert "pulumi-python:dynamic/ragrec:TrainingJob" in json.dumps(project.json("preview", "--json"))

    first = project.pulumi("up", "--yes")
    assert "probe-aaaaaaaaaaaa: epoch 1 of 1" in first
    outputs = project.json("stack", "output", "--json")
    assert (outputs["metrics"], outputs["airec"]) == ({"recall": 0.5}, BOUGHT)

    assert "3 unchanged" in project.pulumi("up", "--yes", "--expect-no-changes")
    project.pulumi("refresh", "--yes", "--expect-no-changes")
    project.pulumi("preview", "--expect-no-changes")

    project.pulumi("config", "set", "digest", "b" * 64)
    changed = project.pulumi("up", "--yes")
    assert "train probe-bbbbbbbbbbbb on 1 x ecs.g6.large" in changed
    jobs = dlc_client(SETTINGS).list_jobs(models.ListJobsRequest()).body.jobs
    assert [job.display_name for job in jobs] == ["probe-bbbbbbbbbbbb"]

    local.remove("artifacts/bbbbbbbbbbbb/MANIFEST.json")
    assert "deleted" in project.pulumi("refresh", "--yes")

    project.pulumi("up", "--yes")
    state = project.pulumi("stack", "export")
    assert local.environment["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] not in state
    assert f"AIRec instance {BOUGHT} was adopted and stays" in project.pulumi("destroy", "--yes")
    assert local.cloud.service("pai_dlc").inventory() == []
