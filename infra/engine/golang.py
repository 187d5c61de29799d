"""Building the engine's programs from Go modules."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from infra.engine.errors import SetupError
from infra.engine.process import run
from infra.engine.progress import Report
from infra.engine.versions import numbers, versions

INSTEAD = "or install Pulumi itself (https://www.pulumi.com/docs/install), then nothing is built"


def require_go() -> str:
    """Find a Go that can build the engine.

    Returns:
        Its path.

    Raises:
        SetupError: There is none, or it is too old and may not fetch a newer one.
    """
    needed = versions().go
    go = shutil.which("go")
    if go is None:
        raise SetupError(
            f"Go is missing, and building the Pulumi engine needs {needed}: apt-get install golang-go "
            f"where that is new enough, else https://go.dev/dl; {INSTEAD}"
        )
    toolchain = os.environ.get("GOTOOLCHAIN") or _go(go, "env", "GOTOOLCHAIN")
    # In the folder of a module a newer Go switches by itself to the version that the module asks for.
    found = re.search(r"go(\d+(?:\.\d+)+)", subprocess.run([go, "version"], capture_output=True, text=True).stdout)
    version = found.group(1) if found else "unknown"
    switches = toolchain.partition("+")[0] not in ("local", "") and numbers(version) >= (1, 21)
    if numbers(version) < numbers(needed) and not switches:
        raise SetupError(
            f"Go {version} ({go}) is too old, building the Pulumi engine needs {needed}: "
            f"install it from https://go.dev/dl, or set GOTOOLCHAIN=auto; {INSTEAD}"
        )
    return go


def _go(go: str, *arguments: str) -> str:
    return subprocess.run([go, *arguments], capture_output=True, text=True).stdout.strip()


def build(
    module: Path,
    package: str,
    binary: Path,
    *,
    variables: dict[str, str],
    compilers: int,
    report: Report,
) -> None:
    """Build one program.

    Args:
        module: Folder of the go.mod; its go.sum has the checksum of every module.
        package: What to build, ``"."`` or an import path.
        binary: Where the program goes; it appears there whole or not at all.
        variables: Go variables that the linker sets.
        compilers: How many compilers may run at once.
        report: Gets the name of every package as it is compiled.
    """
    go = require_go()
    binary.parent.mkdir(parents=True, exist_ok=True)
    unfinished = binary.with_name(f".{binary.name}.{os.getpid()}")
    settings = " ".join(f"-X {name}={value}" for name, value in variables.items())
    count = 0

    def compiled(line: str) -> None:
        nonlocal count
        count += 1
        report(f"{count} packages, {line.strip()}")

    try:
        report("fetching modules")
        run(
            [
                *(go, "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", f"-p={compilers}"),
                *("-ldflags", f"-s -w {settings}", "-o", unfinished, package),
            ],
            folder=module,
            # Without cgo no C compiler is needed, and the program runs on any Linux.
            environment={"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
            report=compiled,
            failure=f"{binary.name} can't be built",
        )
        unfinished.rename(binary)
    finally:
        unfinished.unlink(missing_ok=True)


def module_folder(module: Path, name: str) -> Path:
    """Where the module cache has a requirement of a module."""
    text = run(
        [require_go(), "list", "-m", "-mod=readonly", "-f", "{{.Dir}}", name],
        folder=module,
        environment={"GOFLAGS": "", "GOWORK": "off"},
        failure=f"the Go module {name} can't be found",
    )
    return Path(text.strip().splitlines()[-1])
