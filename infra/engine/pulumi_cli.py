"""The Pulumi command line, run for a stack of this tree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.engine.errors import SetupError
from infra.engine.paths import Paths


def run(
    paths: Paths, arguments: Sequence[str], environment: Mapping[str, str], *, folder: Path | None = None
) -> None:
    """Runs ``pulumi`` in the tree, or in another project's `folder`; what it prints goes to standard error.

    Standard output stays ours, for ``--json``. Ctrl-C is handed on once a time, and Pulumi is waited for: killed in
    the middle of an update it would leave a locked stack and resources that its state doesn't know.

    Raises:
        SetupError: it failed; it has said why.
        KeyboardInterrupt: it was interrupted and has ended.
    """
    process = subprocess.Popen(
        ["pulumi", *arguments, "--non-interactive"],
        cwd=folder or paths.tree,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        process_group=0,  # a terminal's Ctrl-C reaches this process alone
    )
    interrupted = False
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            if not interrupted:
                print(
                    "stopping: what runs now is finished first, a training too; Ctrl-C again stops at once",
                    file=sys.stderr,
                )
            interrupted = True
            process.send_signal(signal.SIGINT)
    if interrupted:
        raise KeyboardInterrupt
    if code:
        raise SetupError(f"pulumi {arguments[0]} failed with exit code {code}; see above")


def outputs(paths: Paths, stack: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The stack's outputs, secrets in clear: for use in this process only.

    Raises:
        SetupError: Pulumi refuses.
    """
    command = ["pulumi", "stack", "output", "--stack", stack, "--json", "--show-secrets", "--non-interactive"]
    done = subprocess.run(
        command,
        cwd=paths.tree,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SetupError(f"the outputs of stack {stack} can't be read: {done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def control(paths: Paths, *arguments: str) -> str:
    """Runs a command of the local cloud and returns what it printed.

    Raises:
        SetupError: it failed; the message is its own.
    """
    python = str(paths.venv / "bin" / "python")
    command = [python, "-m", "infra.localcloud", arguments[0], "--state", str(paths.state), *arguments[1:]]
    done = subprocess.run(command, cwd=paths.tree, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no word of why"]
        raise SetupError(f"local cloud: {lines[-1].removeprefix('error: ')}")
    return done.stdout


def durations(event_log: Path) -> dict[str, float]:
    """Seconds that each resource took, by name, slowest first, from the engine's event log.

    Resources run side by side, so these don't add up to the whole.
    """
    begun: dict[str, int] = {}
    took: dict[str, float] = {}
    for line in event_log.read_text().splitlines() if event_log.exists() else ():
        event = json.loads(line)
        for kind in ("resourcePreEvent", "resOutputsEvent"):
            metadata = event.get(kind, {}).get("metadata")
            if not metadata or metadata["op"] == "same":
                continue
            urn = metadata["urn"]
            if kind == "resourcePreEvent":
                begun[urn] = event["timestamp"]
            elif urn in begun:
                _, _, kinds_and_name = urn.partition("::ragrec::")
                name = kinds_and_name.split("$")[-1]
                took[name] = float(event["timestamp"] - begun[urn])
    return dict(sorted(took.items(), key=lambda item: -item[1]))
