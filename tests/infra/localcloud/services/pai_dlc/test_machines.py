"""A job in real machines: own root folder and network, mounts, the image's Python."""

from __future__ import annotations

from pathlib import Path

import alibabacloud_oss_v2 as oss
import pytest
from alibabacloud_pai_dlc20201203 import models

from infra.localcloud import hypervisor
from infra.resources.cloud import dlc_client
from tests.infra.localcloud.services.pai_dlc.test_service import create, logs, wait
from tests.infra.resources.local_cloud import BUCKET, SETTINGS, serving

COMMAND = """\
cat /mnt/raw/in.txt
touch /mnt/raw/new 2>/dev/null || echo read-only
python -c 'import os, torch; print("torch", os.environ["RANK"])'
python -m http.server --bind 127.0.0.1 23456 >/dev/null 2>&1 &
mkdir /mnt/out/folder && echo 42 > /mnt/out/folder/metric
"""


@pytest.mark.namespaces
def test_a_pod_runs_in_a_machine_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, hypervisor.create(tmp_path)) as local:
        for name, value in local.environment.items():
            monkeypatch.setenv(name, value)
        local.client.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
        local.put("raw/in.txt", b"content\n")
        sources = [
            models.CreateJobRequestDataSources(
                uri=f"oss://{BUCKET}.oss-cn-hangzhou-internal.aliyuncs.com/{folder}/",
                mount_path=f"/mnt/{folder}",
                mount_access=access,
            )
            for folder, access in (("raw", "RO"), ("out", "RW"))
        ]
        client = dlc_client(SETTINGS)
        job_id = create(client, COMMAND, data_sources=sources)
        job = wait(client, job_id, "Succeeded", "Failed", seconds=120)
        assert (job.status, job.reason_message) == ("Succeeded", "")
        assert logs(client, job_id, job.pods[0].pod_id) == ["content", "read-only", "torch 0"]
        assert local.get("out/folder/metric") == b"42\n"

        stopped = create(client, "sleep 600")
        wait(client, stopped, "Running", seconds=60)
        client.stop_job(stopped)
        wait(client, stopped, "Stopped", seconds=60)
        assert local.cloud.hypervisor.machines() == []
