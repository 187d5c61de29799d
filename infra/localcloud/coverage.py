"""The table of what the local cloud answers to, generated from the operations themselves."""

from __future__ import annotations

from collections.abc import Sequence

from infra.localcloud.registry import discover
from infra.localcloud.service import Operation, Service

COMMAND = "python -m infra.localcloud coverage > docs/local-cloud-coverage.md"


def table(services: Sequence[type[Service]] | None = None) -> str:
    """The table in Markdown, a section a service."""
    lines = [
        "# What the local cloud answers to",
        "",
        f"Generated from the code by `{COMMAND}`.",
        "Any other operation, and any parameter that isn't named here, is refused with the vendor's 4xx code.",
        "Required parameters are **bold**; `*` stands for a flattened list.",
    ]
    for service in discover() if services is None else services:
        operations = service.operations()
        versions = ", ".join(service.versions) or "-"
        lines += ["", f"## {service.name} ({versions}), {len(operations)} operations", ""]
        lines += ["| operation | call | parameters | differs from the vendor |", "|---|---|---|---|"]
        lines += [_row(each) for each in operations]
    return "\n".join(lines) + "\n"


def _row(operation: Operation) -> str:
    call = f"`{operation.method} {operation.path}`" if operation.path else "RPC"
    required = [f"**{name}**" for name in operation.required]
    parameters = ", ".join([*required, *(name for name in operation.optional if name not in operation.required)])
    cells = (operation.name, call, parameters, operation.note)
    return "| " + " | ".join(cell.replace("*.", "\\*.").replace("|", "\\|") for cell in cells) + " |"
