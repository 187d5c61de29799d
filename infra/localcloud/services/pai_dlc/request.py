"""What CreateJob takes: the body's members, their ranges, and the refusal of everything else."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_pascal

from infra.localcloud.service import ApiError
from infra.localcloud.services.pai_dlc.specs import SPECS

_URI = re.compile(
    r"oss://(?P<bucket>[a-z0-9][a-z0-9-]{1,61}[a-z0-9])"
    r"\.oss-(?P<region>[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com(?P<path>/.*)?"
)
_MAX_PODS = 16

T = TypeVar("T", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal, extra="forbid", frozen=True, str_strip_whitespace=False)


class DataSource(_Body):
    """An OSS folder and where pods see it."""

    uri: str
    mount_path: str
    mount_access: Literal["RO", "RW"] = "RW"
    options: str = ""
    enable_cache: bool | None = None

    @field_validator("uri")
    @classmethod
    def _check_uri(cls, value: str) -> str:
        if not _URI.fullmatch(value):
            raise ValueError(f"{value!r} is not of the form oss://<bucket>.oss-<region>.aliyuncs.com/<path>/")
        return value

    @field_validator("mount_path")
    @classmethod
    def _check_mount_path(cls, value: str) -> str:
        if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+/?", value) or ".." in value.split("/"):
            raise ValueError(f"{value!r} is not an absolute path")
        return value

    @property
    def bucket(self) -> str:
        """The bucket of `uri`."""
        return self._part("bucket")

    @property
    def region(self) -> str:
        """The region of `uri`, without ``-internal``."""
        return self._part("region")

    @property
    def prefix(self) -> str:
        """The key prefix of `uri`, with a slash at its end unless empty."""
        path = self._part("path").strip("/")
        return f"{path}/" if path else ""

    def _part(self, name: str) -> str:
        match = _URI.fullmatch(self.uri)
        assert match is not None
        return match[name] or ""


class ResourceConfig(_Body):
    """Resources of a pod in a resource quota; the public pool takes `EcsSpec` instead."""

    cpu: str = Field(default="", alias="CPU")
    gpu: str = Field(default="", alias="GPU")
    gpu_type: str = Field(default="", alias="GPUType")
    memory: str = ""
    shared_memory: str = ""


class JobSpec(_Body):
    """Pods of one role."""

    type: Literal["Master", "Worker"] = "Worker"
    image: str = Field(min_length=1)
    pod_count: int = Field(default=1, ge=1, le=_MAX_PODS)
    ecs_spec: str = ""
    resource_config: ResourceConfig | None = None
    restart_policy: Literal["Never"] = "Never"
    elastic_spot_specs: list[Any] = Field(default=[], max_length=0)
    local_mount_specs: list[Any] = Field(default=[], max_length=0)
    startup_dependencies: list[Any] = Field(default=[], max_length=0)

    @model_validator(mode="after")
    def _check_resources(self) -> JobSpec:
        if bool(self.ecs_spec) == bool(self.resource_config):
            raise ValueError("give EcsSpec or ResourceConfig, one of both")
        if self.ecs_spec and self.ecs_spec not in SPECS:
            raise ValueError(f"EcsSpec {self.ecs_spec!r} is not one of {', '.join(SPECS)}")
        return self


class UserVpc(_Body):
    """The network that pods are attached to."""

    vpc_id: str = ""
    switch_id: str = ""
    security_group_id: str = ""
    extended_cidrs: list[str] = Field(default=[], alias="ExtendedCIDRs")
    default_route: Literal["eth0", "eth1"] = "eth0"


class Settings(_Body):
    """Of the job's settings, those that mean something here."""

    tags: dict[str, str] = {}
    shell: str = ""
    job_reserved_minutes: int = Field(default=0, ge=0)


class CreateJobRequest(_Body):
    """The body of CreateJob; members of the vendor's that this cloud doesn't implement are refused by name."""

    display_name: str = Field(min_length=1, max_length=256)
    job_type: Literal["PyTorchJob"]
    job_specs: list[JobSpec] = Field(min_length=1)
    user_command: str = Field(min_length=1, max_length=65536)
    workspace_id: str = ""
    resource_id: Literal[""] = ""  # no quotas here: the public pool
    description: str = Field(default="", max_length=1024)
    priority: int = Field(default=1, ge=1, le=9)
    envs: dict[str, str] = {}
    custom_envs: list[Any] = Field(default=[], max_length=0)
    data_sources: list[DataSource] = []
    user_vpc: UserVpc | None = None
    job_max_running_time_minutes: int = Field(default=0, ge=0)
    settings: Settings = Settings()
    success_policy: Literal["", "AllWorkers"] = ""
    thirdparty_libs: list[Any] = Field(default=[], max_length=0)
    accessibility: Literal["PUBLIC", "PRIVATE"] = "PRIVATE"

    @field_validator("envs")
    @classmethod
    def _check_envs(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is not a name of an environment variable")
        return value

    @model_validator(mode="after")
    def _check_whole(self) -> CreateJobRequest:
        paths = [source.mount_path.rstrip("/") for source in self.data_sources]
        if len(set(paths)) < len(paths):
            raise ValueError("two DataSources have one MountPath")
        if sum(spec.pod_count for spec in self.job_specs) > _MAX_PODS:
            raise ValueError(f"more than {_MAX_PODS} pods")
        if sum(spec.pod_count for spec in self.job_specs if spec.type == "Master") > 1:
            raise ValueError("more than one pod of type Master")
        return self


class UpdateJobRequest(_Body):
    """The body of UpdateJob."""

    accessibility: Literal["PUBLIC", "PRIVATE"] | None = None
    priority: int | None = Field(default=None, ge=1, le=9)
    job_specs: list[Any] = Field(default=[], max_length=0)


def parse_create_job(body: bytes, region: str) -> CreateJobRequest:
    """Reads and checks the body of CreateJob.

    Raises:
        ApiError: 400, naming the member.
    """
    request = _parse(CreateJobRequest, body)
    for index, source in enumerate(request.data_sources):
        if source.region != region:
            message = f"DataSources[{index}].Uri is in {source.region}, the job is in {region}."
            raise ApiError(400, "InvalidParameter", message)
    return request


def parse_update_job(body: bytes) -> UpdateJobRequest:
    """Reads and checks the body of UpdateJob.

    Raises:
        ApiError: 400, naming the member.
    """
    return _parse(UpdateJobRequest, body)


def _parse(model: type[T], body: bytes) -> T:
    try:
        members = json.loads(body or b"{}")
    except ValueError:
        raise ApiError(400, "InvalidParameter", "The request body is not JSON.") from None
    try:
        return model.model_validate(members)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    member = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in location).lstrip(".") or "The body"
    if first["type"] == "missing":
        return ApiError(400, f"Missing{location[-1]}", f"{member} is mandatory for this action.")
    if first["type"] == "extra_forbidden":
        return ApiError(400, "InvalidParameter", f"The parameter {member} is not supported.")
    return ApiError(400, "InvalidParameter", f"{member}: {first['msg'].removeprefix('Value error, ')}.")
