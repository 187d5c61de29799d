"""From a request to its service and back: routing, signature, permission, faults, the operation, the answer."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from infra.localcloud import journal
from infra.localcloud.authorization import context, decide
from infra.localcloud.faults import Faults
from infra.localcloud.policy import Access
from infra.localcloud.registry import choose, choose_by_version
from infra.localcloud.service import ApiError, ApiService, Call, Cloud, Identity, Operation, Reply, Service
from infra.localcloud.signing import Verifier
from infra.localcloud.signing.rpc import PROTOCOL_PARAMETERS
from infra.localcloud.wire import Request, Response, WireService

BODY_LIMIT = 32 << 20  # bytes of an API call's body
OWN_HOSTS = ("127.0.0.1", "localhost", "::1")
ADMIN = "/.localcloud/"
_REGION = re.compile(r"[a-z]{2}-[a-z]+(-[a-z0-9]+)*")


class Gateway:
    """Answers requests, in any thread."""

    def __init__(self, cloud: Cloud, services: Sequence[Service], verifier: Verifier, faults: Faults) -> None:
        self._cloud = cloud
        self._services = services
        self._verifier = verifier
        self._faults = faults

    def serves(self, host: str) -> bool:
        """Whether requests and tunnels to a host are taken at all."""
        return host in OWN_HOSTS or host.endswith(".aliyuncs.com")

    def respond(self, request: Request) -> Response | None:
        """Answers a request; None drops the connection, as an injected fault wants it."""
        entry = journal.Entry(request.request_id, request.method, request.host)
        started = time.monotonic()
        try:
            return self._respond(request, entry)
        finally:
            journal.write(entry, time.monotonic() - started)

    def _respond(self, request: Request, entry: journal.Entry) -> Response | None:
        service: Service | None = None
        try:
            if request.host in OWN_HOSTS and request.path.startswith(ADMIN):
                return self._administer(request, entry)
            service = self._route(request)
            entry.service = service.name
            request.body.check()
            if isinstance(service, WireService):
                entry.operation = service.describe(request)
                fault = self._faults.take(service.name, entry.operation)
                if not self._faults.before(fault):
                    return None
                response = service.respond(request)
                if fault == "drop":
                    response.close()
                    return None
                return entry.answered(response)
            return self._call(service, request, entry)
        except ApiError as error:
            return entry.answered(self._refuse(service, request, error), error.code)
        except (OSError, sqlite3.OperationalError) as error:
            journal.LOG.exception("the state folder can't be used")
            # Not 5xx: clients would try again for minutes.
            refusal = ApiError(400, "LocalStorageError", f"The local cloud can't keep its state: {error}.")
            return entry.answered(self._refuse(service, request, refusal), refusal.code)
        except Exception:  # noqa: BLE001 - the boundary: a defect is logged and answered, the server goes on
            journal.LOG.exception("defect while answering %s %s", request.method, request.host)
            message = f"A defect of the local cloud; its log has the details for {request.request_id}."
            refusal = ApiError(500, "InternalError", message)
            return entry.answered(self._refuse(service, request, refusal), refusal.code)

    def _route(self, request: Request) -> Service:
        if not self.serves(request.host):
            raise ApiError(
                502,
                "HostNotServed",
                f"The local cloud does not relay to {request.host or '(no host)'}: only hosts of Alibaba Cloud's APIs"
                " are served. Name the host in NO_PROXY to reach it directly.",
            )
        version = request.headers.get("x-acs-version") or dict(request.query).get("Version", "")
        if request.host in OWN_HOSTS:
            if version:
                return choose_by_version(self._services, version)
            return next(service for service in self._services if isinstance(service, WireService))
        return choose(self._services, request.host, version)

    def _call(self, service: Service, request: Request, entry: journal.Entry) -> Response | None:
        call = self._read(service, request, self._verifier.verify_api(request))
        entry.access_key_id = call.identity.access_key_id
        known = _operation(service, call)
        action = known.name if known else call.parameters.get("Action") or call.headers.get("x-acs-action", "")
        entry.operation = action
        if known:
            self._authorise(service, call, known, request.scheme)
        fault = self._faults.take(service.name, action)
        if not self._faults.before(fault):
            return None
        reply = service.handle(call)
        return None if fault == "drop" else entry.answered(_json(200, reply, request))

    def _read(self, service: Service, request: Request, identity: Identity) -> Call:
        parameters = dict(request.query + request.form)
        if parameters.get("Format", "JSON").upper() != "JSON":
            raise ApiError(400, "InvalidParameter.Format", "The local cloud answers in JSON only.")
        return Call(
            service=service.name,
            method=request.method,
            host=request.host,
            path=request.path,
            parameters={k: v for k, v in parameters.items() if k not in PROTOCOL_PARAMETERS},
            headers=request.headers,
            body=request.body.read(BODY_LIMIT),
            identity=identity,
            region=parameters.get("RegionId") or _region_of(request.host) or self._cloud.region,
            request_id=request.request_id,
            source_ip=request.source_ip,
        )

    def _authorise(self, service: Service, call: Call, known: Operation, scheme: str) -> None:
        access = Access(
            f"{service.ram_code or service.name}:{known.name}",
            service.resource(call),
            context(call.source_ip, scheme),
        )
        if call.identity.kind == "account" or access.action == "sts:GetCallerIdentity":
            return
        if decide(self._cloud.store, call.identity, access) != "allow":
            code = "Forbidden.RAM" if service.name in ("ecs", "vpc") else "NoPermission"
            raise ApiError(
                403,
                code,
                "User not authorized to operate on the specified resource, or this API doesn't support RAM:"
                f" {call.identity.arn} needs {access.action} on {access.resource}.",
            )

    def _refuse(self, service: Service | None, request: Request, error: ApiError) -> Response:
        if isinstance(service, WireService):
            return service.refuse(request, error)
        reply: dict[str, Any] = {
            "RequestId": request.request_id,
            "HostId": request.host,
            "Code": error.code,
            "Message": error.message,
            **error.data,
        }
        if isinstance(service, ApiService) and _spells_small(service):
            reply = {name[0].lower() + name[1:]: value for name, value in reply.items()}
        return _json(error.status, reply, request)

    def _administer(self, request: Request, entry: journal.Entry) -> Response:
        entry.service, entry.operation = "localcloud", request.path.removeprefix(ADMIN)
        if request.method == "GET" and entry.operation == "health":
            reply = {
                "status": "ok",
                "account_id": self._cloud.account_id,
                "services": [s.name for s in self._services],
            }
            return entry.answered(_json(200, reply, request))
        raise ApiError(404, "InvalidAPI.NotFound", f"The local cloud has no {request.method} {request.path}.")


def _operation(service: Service, call: Call) -> Operation | None:
    return next((known for known in service.operations() if known.match(call) is not None), None)


def _spells_small(service: ApiService) -> bool:
    probe = Call("", "", "", "", {}, {}, b"", Identity("", "", "account"), "", "")
    return "requestId" in service.envelope(probe)


def _region_of(host: str) -> str:
    label = host.removesuffix(".aliyuncs.com").rpartition(".")[2]
    return label if _REGION.fullmatch(label) else ""


def _json(status: int, reply: Reply | Mapping[str, Any], request: Request) -> Response:
    headers = {"Content-Type": "application/json;charset=UTF-8", "x-acs-request-id": request.request_id}
    return Response(status, headers, json.dumps(reply, separators=(",", ":")).encode())
