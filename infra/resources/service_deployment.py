"""Which release the recommendation service serves: deployed through its own API and read back from it."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from infra.resources.cloud import changed, failures, is_unknown, known

SERVICE_TYPE = "recommendation"
SERVING = "serving"
_RELEASE = ("release", "artifacts", "index", "pipeline", "model", "version")
_CONTENT = ("url", "instance", "model_version", *_RELEASE)
_INPUTS = (*_CONTENT, "token", "authority", "patience")
_OUTPUTS = ("live_release", "live_model_version", "physical_index", "status")
Properties = dict[str, Any]


@dataclass(frozen=True)
class ServiceDeploymentArgs:
    """Inputs of `ServiceDeployment`.

    Attributes:
        url: of the service, without a path.
        instance: its id, as in every path.
        token: bearer token with the scopes ``deploy`` and ``read``.
        release: id of the release, 12 hex digits.
        artifacts: prefix of the release's artifacts in the data bucket, with a slash at its end.
        version: of the embedding model that the gateway must serve (the artifact's digest); empty: any.
        model_version: the label under which callers know the release.
        index: the items index, or its alias.
        pipeline: the search pipeline with the weights.
        model: the embedding model's name at the gateway.
        authority: PEM of the authority that signed the service's certificate, where it has one.
        patience: seconds to wait for an instance that still boots.
    """

    url: pulumi.Input[str]
    instance: pulumi.Input[str]
    token: pulumi.Input[str]
    release: pulumi.Input[str]
    artifacts: pulumi.Input[str]
    version: pulumi.Input[str] = ""
    model_version: str = "custom_v1"
    index: str = "items"
    pipeline: str = "ragrec-hybrid"
    model: str = "custom-emb-v1"
    authority: pulumi.Input[str] = ""
    patience: int = 900


class ServiceDeploymentError(Exception):
    """The service refused, or didn't come up; `status` is 0 when no answer came."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def validate(properties: Mapping[str, Any]) -> dict[str, str]:
    """Problems by property; what isn't known yet is no problem. The policy pack calls this too."""
    problems = {}
    if "release" in properties and not re.fullmatch(r"[0-9a-f]{12}", str(properties["release"])):
        problems["release"] = f"is {properties['release']!r}; give 12 hex digits"
    if "artifacts" in properties and not re.fullmatch(r"([\w.-]+/)+", str(properties["artifacts"])):
        problems["artifacts"] = f"is {properties['artifacts']!r}; it must end with a slash"
    label = properties.get("model_version", "custom_v1")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str(label)):
        problems["model_version"] = f"is {label!r}; letters, digits, '.', '_' and '-', at most 64"
    return problems


def plan(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Steps from what is served to what is wanted, in words; empty when there is nothing to do."""
    wanted = f"release {new['release']} as {new['model_version']}"
    if not old:
        return [f"deploy {wanted} to {new['instance']}"]
    if names := changed(old, new, _CONTENT):
        was = old.get("live_release") or "nothing"
        return [f"deploy {wanted}, after {was} ({', '.join(names)})"]
    if _drifted(old):
        was = f"{old.get('live_release') or 'nothing'} as {old.get('live_model_version') or '-'}"
        return [f"deploy {wanted} again (the service has {was}, {old.get('status')})"]
    return []


def request(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The body of ``POST /v1/instances/{instance}/deploy``."""
    release = {name: properties[name] for name in _RELEASE if name != "release"}
    return {
        "service_type": SERVICE_TYPE,
        "model_version": properties["model_version"],
        "release": {"id": properties["release"], **release},
    }


def observe(description: Mapping[str, Any]) -> Properties:
    """What an instance's description says is served."""
    release = description.get("release") or {}
    return {
        "live_release": release.get("id") or "",
        "live_model_version": description.get("model_version") or "",
        "physical_index": release.get("index") or "",
        "status": description.get("status") or "",
    }


class ServiceDeploymentProvider(ResourceProvider):
    """Keeps one release deployed."""

    serialize_as_secret_always = False

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Refuses malformed names."""
        return CheckResult(news, failures(validate(known(news))))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Compares inputs, and after a refresh what is served."""
        if is_unknown(news):
            return DiffResult(changes=True)
        for step in (steps := plan(olds, news)):
            pulumi.log.info(f"{news['instance']}: {step}")
        names = changed(olds, news, _INPUTS)
        return DiffResult(changes=bool(steps or names), replaces=[name for name in names if name == "instance"])

    def create(self, props: Properties) -> CreateResult:
        """Deploys the release once the service is up; the same one again changes nothing there."""
        return CreateResult(props["instance"], self._deploy(props))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """Deploys the release; the service goes on with the old one until the new one is checked and loaded."""
        if not plan(olds, news):
            return UpdateResult({**_inputs(news), **{name: olds[name] for name in _OUTPUTS}})
        return UpdateResult(self._deploy(news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """What is served now; an empty id when the service knows no such instance."""
        try:
            description = _call(props, "GET", "")
        except ServiceDeploymentError as error:
            if error.status == 404:
                return ReadResult("", {})
            raise
        return ReadResult(id_, {**_inputs(props), **observe(description)}, _inputs(props))

    def delete(self, _id: str, props: Properties) -> None:
        """Nothing: a service without a release answers nobody, so the last one stays until the instance goes."""
        pulumi.log.info(f"{props['instance']}: the release goes with the service's instance")

    def _deploy(self, props: Properties) -> Properties:
        _patiently(props, "POST", "/deploy", request(props))
        description = _call(props, "GET", "")
        live = observe(description)
        if _drifted({**props, **live}):
            found = f"{live['live_release'] or 'none'} ({live['status']} {description.get('reason', '')})"
            raise ServiceDeploymentError(f"{props['instance']} took release {props['release']} but has {found}")
        pulumi.log.info(f"{props['instance']}: serves {live['live_release']} from {live['physical_index']}")
        return {**_inputs(props), **live}


class ServiceDeployment(Resource, module="ragrec", name="ServiceDeployment"):
    """A release under its label.

    Attributes:
        live_release: what is served.
        physical_index: the index behind the alias when it was deployed.
        status: ``serving``, or what a refresh found instead.
    """

    live_release: pulumi.Output[str]
    live_model_version: pulumi.Output[str]
    physical_index: pulumi.Output[str]
    status: pulumi.Output[str]

    def __init__(self, name: str, args: ServiceDeploymentArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        properties = {**vars(args), "token": pulumi.Output.secret(args.token), **dict.fromkeys(_OUTPUTS)}
        super().__init__(ServiceDeploymentProvider(), name, properties, opts)


def _drifted(old: Mapping[str, Any]) -> bool:
    # A service that has just started says "loading": it will be there in a moment.
    return (
        old.get("live_release") != old.get("release")
        or old.get("live_model_version") != old.get("model_version")
        or old.get("status") not in {SERVING, "loading"}
    )


def _patiently(props: Mapping[str, Any], method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A call that is made again while the service, or what it depends on, isn't there yet."""
    started = told = time.monotonic()
    while True:
        try:
            return _call(props, method, path, body)
        except ServiceDeploymentError as error:
            now = time.monotonic()
            if error.status not in {0, 429, 502, 503, 504}:
                raise
            if now - started > props["patience"]:
                raise ServiceDeploymentError(
                    f"the service isn't ready after {props['patience']:.0f} s: {error}", error.status
                ) from error
            if now - told >= 15:
                told = now
                pulumi.log.info(f"waiting for the service, {now - started:.0f} s: {error}")
        time.sleep(2)


def _call(props: Mapping[str, Any], method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    url = f"{props['url']}/v1/instances/{props['instance']}{path}"
    headers = {"Authorization": f"Bearer {props['token']}"}
    try:
        with httpx.Client(
            # The address is in the VPC: never through a proxy. Loading artifacts takes a while.
            headers=headers,
            timeout=httpx.Timeout(180, connect=5),
            trust_env=False,
            verify=_trust(props),
        ) as client:
            reply = client.request(method, url, json=body)
    except httpx.TransportError as error:
        raise ServiceDeploymentError(f"{url} doesn't answer: {error}") from error
    if reply.status_code >= 400:
        raise ServiceDeploymentError(f"{method} {url}: {reply.status_code}: {_message(reply)}", reply.status_code)
    try:
        answer: dict[str, Any] = reply.json()
    except ValueError as error:
        raise ServiceDeploymentError(f"{method} {url}: the answer is not JSON", 500) from error
    return answer


def _trust(props: Mapping[str, Any]) -> ssl.SSLContext | bool:
    authority = props.get("authority")
    return ssl.create_default_context(cadata=authority) if authority else True


def _message(reply: httpx.Response) -> str:
    try:
        error = reply.json()["error"]
        return str(error["message"] if isinstance(error, Mapping) else error)
    except (ValueError, KeyError, TypeError):
        return reply.text[:300]


def _inputs(props: Mapping[str, Any]) -> Properties:
    return {name: props[name] for name in _INPUTS}
