"""Step 2, training: a PAI DLC job over the staged data, whose artifact is named by the digest of what goes in."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

import pulumi

from infra import settings
from infra.release import digest, short
from infra.resources.training_job import DataSource, TrainingJob, TrainingJobArgs
from infra.storage import Code

_SCRIPT = """\
set -euo pipefail
mkdir -p /opt/ragrec/code
tar -xzf {archive} -C /opt/ragrec/code
cd /opt/ragrec/code
python -c 'import transformers, safetensors, model_archiver' \\
  || python -m pip install --require-hashes -r requirements.lock
exec python -m model.train --data /mnt/raw --output /mnt/artifacts/{artifact} \\
  --base-model {base_model} --parameters {parameters} --version {digest}
"""


@dataclass(frozen=True)
class TrainingArgs:
    """What is trained from what."""

    settings: settings.Settings
    oss_host: str
    """``oss-<region>-internal.aliyuncs.com``: how a job names what it mounts."""
    code: Code
    data_digest: str


class Training(pulumi.ComponentResource):
    """The training job; `prefix` is where its artifact lies in the data bucket, known before it has run."""

    def __init__(self, name: str, args: TrainingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ragrec:training:Training", name, None, opts)
        stack = args.settings
        self.digest = artifact_digest(stack.training, args.code, args.data_digest)
        self.prefix = f"artifacts/{short(self.digest)}/"
        bucket = f"oss://{stack.data_bucket}.{args.oss_host}"
        base_model, mounts = _base_model(stack.training.base_model, args.oss_host)
        self.job = TrainingJob(
            name,
            TrainingJobArgs(
                name=f"{stack.prefix}-{short(self.digest)}",
                digest=self.digest,
                command=_SCRIPT.format(
                    archive=f"/mnt/{args.code.key}",
                    artifact=short(self.digest),
                    digest=self.digest,
                    base_model=shlex.quote(base_model),
                    parameters=shlex.quote(json.dumps(stack.training.parameters, sort_keys=True)),
                ),
                image=stack.training.image,
                instance_type=stack.training.instance_type,
                data_sources=[
                    DataSource(f"{bucket}/raw/", "/mnt/raw", "RO"),
                    DataSource(f"{bucket}/code/", "/mnt/code", "RO"),
                    DataSource(f"{bucket}/artifacts/", "/mnt/artifacts", "RW"),
                    *mounts,
                ],
                max_minutes=stack.training.max_minutes,
                # Threads that wait give their core to others: a machine may have more to do.
                environment={"OMP_WAIT_POLICY": "PASSIVE"},
                bucket=stack.data_bucket,
                prefix=self.prefix,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"prefix": self.prefix, "metrics": self.job.metrics})


def artifact_digest(training: settings.Training, code: Code, data_digest: str) -> str:
    """What an artifact is made of; where it runs, and for how long at most, changes nothing in it."""
    return digest(code=code.digest, data=data_digest, base_model=training.base_model, parameters=training.parameters)


def _base_model(source: str, oss_host: str) -> tuple[str, list[DataSource]]:
    """How the job names its base model, and what is mounted for it."""
    if not source.startswith("oss://"):
        return source, []
    bucket, _, path = source.removeprefix("oss://").partition("/")
    folder = path.rstrip("/") + "/"
    return "/mnt/base-model", [DataSource(f"oss://{bucket}.{oss_host}/{folder}", "/mnt/base-model", "RO")]
