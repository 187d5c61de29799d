"""What a service of the local cloud is made of: verified calls in, documents or vendor errors out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from infra.localcloud.store import Store

if TYPE_CHECKING:
    from infra.localcloud.hypervisor.machine import Hypervisor

Reply = dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """Who signed a call."""

    account_id: str
    access_key_id: str
    kind: Literal["account", "user", "role"]
    role_name: str = ""  # for kind "role": the assumed role, whose policies decide what is allowed

    @property
    def arn(self) -> str:
        """The principal's resource name."""
        if self.kind == "role":
            return f"acs:ram::{self.account_id}:assumed-role/{self.role_name}"
        return f"acs:ram::{self.account_id}:root"


@dataclass(frozen=True)
class Call:
    """One request whose signature was verified.

    `parameters` are the business parameters: query and form merged for RPC, the query for ROA; signature and protocol
    parameters are taken out. Header names are lower case.
    """

    service: str
    method: str
    host: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    identity: Identity
    region: str
    request_id: str
    source_ip: str = "127.0.0.1"
    path_parameters: Mapping[str, str] = field(default_factory=dict)

    def list_parameter(self, prefix: str) -> list[str]:
        """Values of the flattened list ``prefix.1``, ``prefix.2`` and so on."""
        values: list[str] = []
        while (value := self.parameters.get(f"{prefix}.{len(values) + 1}")) is not None:
            values.append(value)
        return values

    def structures(self, prefix: str) -> list[dict[str, str]]:
        """Members of the flattened list of structures ``prefix.1.Key`` and so on."""
        found: dict[int, dict[str, str]] = {}
        for name, value in self.parameters.items():
            if match := re.fullmatch(re.escape(prefix) + r"\.(\d+)\.(.+)", name):
                found.setdefault(int(match[1]), {})[match[2]] = value
        return [found[index] for index in sorted(found)]


class ApiError(Exception):
    """An error in the vendor's form; the transport renders it as JSON or, for OSS, XML."""

    def __init__(self, status: int, code: str, message: str, **data: Any) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.data = data


class Cloud(Protocol):
    """What every service can reach."""

    store: Store
    directory: Path
    region: str
    account_id: str

    @property
    def hypervisor(self) -> Hypervisor:
        """Where machines run."""
        ...

    def service(self, name: str) -> Service:
        """Another service, for calls between services."""
        ...


@dataclass(frozen=True)
class Operation:
    """One API operation that a service implements, and the parameters that it knows.

    A parameter name that ends in ``.*`` stands for a flattened list. `path` is for ROA: ``/api/v1/jobs/{JobId}``.
    """

    name: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    method: str = ""
    path: str = ""
    note: str = ""  # what differs from the vendor, for the coverage table

    def match(self, call: Call) -> dict[str, str] | None:
        """The path parameters when a call is one of this operation, else None.

        RPC: by the ``Action`` parameter or the ``x-acs-action`` header. ROA: by method and path.
        """
        if not self.path:
            action = call.parameters.get("Action") or call.headers.get("x-acs-action", "")
            return {} if action == self.name else None
        if self.method != call.method:
            return None
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        match = re.fullmatch(pattern, call.path)
        return match.groupdict() if match else None

    def check(self, parameters: Iterable[str]) -> None:
        """Refuses missing and unknown parameters with the vendor's codes."""
        names = set(parameters)
        for name in self.required:
            stem = name.removesuffix(".*")
            if not any(n == name or n.startswith(stem + ".") for n in names):
                raise ApiError(400, f"Missing{stem}", f"{stem} is mandatory for this action.")
        for name in sorted(names):
            if not any(_covers(known, name) for known in (*self.required, *self.optional)):
                raise ApiError(400, "InvalidParameter", f"The parameter {name} is not supported by {self.name}.")


def _covers(known: str, name: str) -> bool:
    return name == known or (known.endswith(".*") and name.startswith(known[:-1]))


class Service(ABC):
    """A service of the local cloud; subclasses are found by `name` and by the host names they answer."""

    name: ClassVar[str]  # "ecs"
    versions: ClassVar[tuple[str, ...]] = ()  # API versions, "2014-05-26"
    hosts: ClassVar[tuple[str, ...]]  # regular expressions of full host names, r"ecs(\.[a-z0-9-]+)?\.aliyuncs\.com"
    ram_code: ClassVar[str] = ""  # what RAM actions begin with where it isn't `name`: "paidlc"

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    @abstractmethod
    def handle(self, call: Call) -> Reply:
        """Answers one verified call.

        Raises:
            ApiError: in every refused case, unknown operations included.
        """

    def resource(self, call: Call) -> str:
        """The resource that RAM policies are asked about: the first that a path names, else all of the service's.

        ``/v2/openapi/instances/airec-1/...`` is ``acs:airec:<region>:<account>:instance/airec-1``. Services that have
        their resources in parameters know better.
        """
        named = re.search(r"/([A-Za-z-]+)s/([^/]+)", call.path)
        resource = f"{named[1]}/{named[2]}" if named else "*"
        return f"acs:{self.ram_code or self.name}:{call.region}:{self.cloud.account_id}:{resource}"

    def start(self) -> None:  # noqa: B027 - optional hook
        """Called once after the state was loaded: take up again what was running."""

    def close(self) -> None:  # noqa: B027 - optional hook
        """Called once before the state is closed: what runs is left for the next start."""

    def inventory(self) -> list[str]:
        """What stands in the account because somebody created it, one ``type id`` a line."""
        return []

    @classmethod
    @abstractmethod
    def operations(cls) -> list[Operation]:
        """The implemented operations, for validation and the coverage table."""


Handler = Callable[[Any, Call], Reply]


def operation(
    name: str,
    *,
    required: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    method: str = "",
    path: str = "",
    note: str = "",
) -> Callable[[Handler], Handler]:
    """Marks a method of an `ApiService` as the implementation of an operation."""
    described = Operation(name, required, optional, method, path, note)

    def mark(handler: Handler) -> Handler:
        handler.__dict__["operation"] = described
        return handler

    return mark


class ApiService(Service):
    """Base of the JSON services: finds the operation, checks its parameters, calls the method marked with it.

    RPC: by the ``Action`` parameter (or ``x-acs-action`` header). ROA: by method and path; the query is checked, the
    JSON body is the operation's own concern.
    """

    @classmethod
    def operations(cls) -> list[Operation]:
        """The operations of the marked methods, sorted by name."""
        return sorted(cls._handlers(), key=lambda known: known.name)

    @classmethod
    def _handlers(cls) -> dict[Operation, Handler]:
        found: dict[Operation, Handler] = {}
        for base in reversed(cls.__mro__):
            for handler in vars(base).values():
                known = getattr(handler, "operation", None)
                if isinstance(known, Operation):
                    found[known] = handler
        return found

    def handle(self, call: Call) -> Reply:
        """Finds the operation, checks the parameters, calls it and adds the request id."""
        action = call.parameters.get("Action") or call.headers.get("x-acs-action", "")
        parameters = {k: v for k, v in call.parameters.items() if k != "Action"}
        for known, handler in self._handlers().items():
            values = known.match(call)
            if values is None:
                continue
            known.check(parameters)
            reply = handler(
                self,
                Call(**{**call.__dict__, "parameters": parameters, "path_parameters": values}),
            )
            return {**self.envelope(call), **reply}
        if action:
            raise ApiError(404, "InvalidAction.NotFound", f"Specified api is not found: {self.name} {action}.")
        raise ApiError(404, "InvalidAPI.NotFound", f"Specified api is not found: {call.method} {call.path}.")

    def envelope(self, call: Call) -> Reply:
        """What every reply carries; AIRec spells it ``requestId``."""
        return {"RequestId": call.request_id}
