"""Finds the services of the local cloud: packages under ``services`` that have a ``SERVICE``."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable

from infra.localcloud import services
from infra.localcloud.service import ApiError, Service
from infra.localcloud.wire import WireService


def discover() -> list[type[Service]]:
    """The service classes, by name.

    Raises:
        TypeError: a package's ``SERVICE`` isn't one.
    """
    found: list[type[Service]] = []
    for module in pkgutil.iter_modules(services.__path__):
        if not module.ispkg:
            continue
        candidate = getattr(importlib.import_module(f"{services.__name__}.{module.name}"), "SERVICE", None)
        if candidate is None:
            continue
        if not (isinstance(candidate, type) and issubclass(candidate, Service)):
            raise TypeError(f"SERVICE of the package {module.name} is no subclass of Service")
        found.append(candidate)
    return sorted(found, key=lambda each: each.name)


def answers(service: type[Service] | Service, host: str) -> bool:
    """Whether a service answers for a host name."""
    return any(re.fullmatch(pattern, host) for pattern in service.hosts)


def choose(known: Iterable[Service], host: str, version: str) -> Service:
    """The service that a call to `host` in API `version` (may be empty) is for.

    Raises:
        ApiError: no service answers there, or none in that version.
    """
    candidates = [service for service in known if answers(service, host)]
    if not candidates:
        raise ApiError(404, "InvalidHost.NotFound", f"The local cloud has no service for the host {host}.")
    for service in candidates:
        if isinstance(service, WireService) or not service.versions or version in service.versions:
            return service
    if not version:
        return candidates[0]
    raise ApiError(
        400,
        "InvalidVersion",
        f"Specified parameter Version is not valid: {candidates[0].name} speaks {', '.join(candidates[0].versions)}.",
    )


def choose_by_version(known: Iterable[Service], version: str) -> Service:
    """The service that speaks an API version, for clients that address the local cloud by IP address.

    Raises:
        ApiError: none does.
    """
    for service in known:
        if version in service.versions:
            return service
    raise ApiError(404, "InvalidVersion", f"No service of the local cloud has the API version {version or '(none)'}.")
