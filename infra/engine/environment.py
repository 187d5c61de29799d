"""The environment in which plain ``pulumi`` works on the `dev` stack; ``scripts/env`` prints it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Mapping

from infra.engine import stack, state
from infra.engine.command import conclude
from infra.engine.errors import SetupError
from infra.engine.paths import Paths

DEV = "dev"


def engine_environment(paths: Paths, path: str) -> dict[str, str]:
    """What leads to the engine, to this tree's state and to its Python.

    Args:
        paths: The tree and its state.
        path: The present PATH. What was put in front of it before is not put there again.

    Raises:
        SetupError: ``scripts/setup`` has not been run in this tree.
    """
    record = state.read_engine(paths)
    front = [*([record.programs] if record.programs else []), str(paths.venv / "bin")]
    # Another tree's engine, or an older one of this tree, must not come back through the old PATH.
    engines = str(paths.cache / "engine")
    rest = [part for part in path.split(os.pathsep) if part and part not in front and not part.startswith(engines)]
    environment = {
        "PATH": os.pathsep.join([*front, *rest]),
        "PULUMI_HOME": str(state.pulumi_home(paths)),
        "PULUMI_BACKEND_URL": f"file://{state.backend(paths)}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(state.passphrase(paths)),
        "PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    if record.closed:
        environment["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    return environment


def environment(paths: Paths) -> dict[str, str]:
    """Everything that ``pulumi`` and the cloud's clients need: the engine's part and that of the local cloud.

    Raises:
        SetupError: ``scripts/setup`` has not been run in this tree, or ``RAGREC_PORT`` is no port.
        OSError: The state folder can't be written.
    """
    from infra.localcloud.environment import client_environment

    engine = engine_environment(paths, os.environ.get("PATH", ""))
    try:
        return {**engine, **client_environment(paths.state)}
    except ValueError as error:
        raise SetupError(str(error)) from error


def exports(environment: Mapping[str, str]) -> str:
    """Lines for ``eval`` in a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


def main(arguments: list[str] | None = None) -> int:
    """Run ``scripts/env``."""
    parser = argparse.ArgumentParser(
        prog="scripts/env",
        description="Print the environment in which plain pulumi works on the dev stack. "
        'In a shell: eval "$(scripts/env)"',
        epilog="The stack is chosen with pulumi stack select; the local cloud is started with "
        "scripts/localcloud start. RAGREC_PORT is its port: a second clone on one machine needs another one.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of shell lines")
    options = parser.parse_args(arguments)
    paths = Paths.of_environment()

    def work() -> int:
        wanted = environment(paths)
        stack.select_or_init(paths, DEV, wanted)
        print(json.dumps(wanted) if options.json else exports(wanted), end="\n" if options.json else "")
        return 0

    return conclude("scripts/env", work)
