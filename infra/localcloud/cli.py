"""The command line of the local cloud."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from infra.localcloud import coverage, daemon
from infra.localcloud.cloud import LocalCloud
from infra.localcloud.environment import DEFAULT_PORT, PORT_VARIABLE, client_environment, default_port, parse_port
from infra.localcloud.faults import KINDS, Fault, Faults
from infra.localcloud.journal import open_log
from infra.localcloud.paths import StatePaths, default_state
from infra.localcloud.server import serve
from infra.localcloud.store import Store

_Result = TypeVar("_Result")
_REMEDY = {errno.ENOSPC: ": make room there, or set RAGREC_STATE to a folder on a larger disk"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status: 0 done, 1 refused with a line on stderr."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except OSError as error:
        words = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        print(f"error: {words}{_REMEDY.get(error.errno or 0, '')}", file=sys.stderr)
        return 1
    except (daemon.DaemonError, ValueError, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/localcloud", description="The local cloud: Alibaba Cloud's APIs on this machine."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.add_argument(
            "--state", type=Path, default=None, metavar="DIR", help="state folder (default: $RAGREC_STATE or .ragrec)"
        )
        added.set_defaults(command=command)
        return added

    start = add("start", _start, "start the local cloud in the background and wait until it answers")
    start.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help=f"default: ${PORT_VARIABLE}, else the port of the last start, else {DEFAULT_PORT}",
    )
    start.add_argument("--foreground", action="store_true", help="stay in the foreground until Ctrl-C")
    stop = add("stop", _stop, "stop the local cloud; its machines go on running")
    stop.add_argument("--machines", action="store_true", help="stop the machines too")
    status = add("status", _status, "tell whether the local cloud runs (exit status 1: it does not)")
    status.add_argument("--json", action="store_true", help="as one JSON object")
    logs = add("logs", _logs, "print the log")
    logs.add_argument("--lines", type=int, default=100, metavar="N", help="the last N lines (default: 100)")
    logs.add_argument("--follow", action="store_true", help="go on with what comes")
    inventory = add("inventory", _inventory, "list what stands in the account")
    inventory.add_argument("--json", action="store_true", help="as a JSON list")
    add("reset", _reset, "stop the local cloud and its machines and delete its state")
    environment = add("env", _environment, "print the environment that leads clients to the local cloud")
    environment.add_argument("--json", action="store_true", help="as one JSON object")
    add("coverage", _coverage, "print the table of what the local cloud answers to")
    fault = commands.add_parser("fault", help="make calls fail on purpose", description="Make calls fail on purpose.")
    commands = fault.add_subparsers(title="commands", metavar="COMMAND", required=True)
    created = add("add", _fault_add, "let the next calls of an operation fail")
    created.add_argument("service", help="the service's name, or *")
    created.add_argument("operation", help="the operation's name, with * and ?")
    created.add_argument("kind", choices=KINDS, help="what happens")
    created.add_argument("--count", type=int, default=1, metavar="N", help="how many calls (default: 1)")
    add("list", _fault_list, "list the faults to come")
    add("clear", _fault_clear, "remove the faults to come")
    return parser


def _start(options: argparse.Namespace) -> int:
    paths = _paths(options)
    if options.foreground:
        return _serve(paths, default_port(paths) if options.port is None else options.port)
    process, started = daemon.start(paths, options.port)
    print(
        f"local cloud {'started' if started else 'runs already'} on 127.0.0.1:{process.port}, state in {paths.state}"
    )
    return 0


def _serve(paths: StatePaths, port: int) -> int:
    with daemon.registered(paths, port) as announce:
        daemon.check_port(port)
        cloud_secrets = [client_environment(paths.state)["ALIBABA_CLOUD_ACCESS_KEY_SECRET"]]
        handler = open_log(paths.log, cloud_secrets)
        try:
            asyncio.run(serve(paths.state, port, announce))
        finally:
            handler.close()
    return 0


def _stop(options: argparse.Namespace) -> int:
    was_running = daemon.stop(_paths(options), machines=options.machines)
    print("local cloud stopped" if was_running else "the local cloud was not running")
    return 0


def _status(options: argparse.Namespace) -> int:
    paths = _paths(options)
    process = daemon.running(paths)
    if options.json:
        known = {"running": process is not None, "state": str(paths.state)}
        if process is not None:
            known |= {"pid": process.pid, "port": process.port}
        print(json.dumps(known))
    elif process is None:
        print(f"not running (state in {paths.state})")
    else:
        services = ", ".join(daemon.health(paths)["services"])
        print(
            f"running on 127.0.0.1:{process.port}, process {process.pid}, state in {paths.state}",
            f"services: {services}",
            sep="\n",
        )
    return 0 if process is not None else 1


def _logs(options: argparse.Namespace) -> int:
    paths = _paths(options)
    if not paths.log.exists():
        raise daemon.DaemonError(f"there is no log in {paths.directory}: the local cloud was never started")
    with paths.log.open(errors="replace") as file:
        for line in file.readlines()[-options.lines :]:
            print(line, end="")
        while options.follow:
            line = file.readline()
            if line:
                print(line, end="", flush=True)
            else:
                time.sleep(0.2)
    return 0


def _inventory(options: argparse.Namespace) -> int:
    cloud = LocalCloud(_paths(options).state)
    try:
        lines = cloud.inventory()
    finally:
        cloud.close()
    if options.json:
        print(json.dumps(lines))
    else:
        print("\n".join(lines) if lines else "nothing")
    return 0


def _reset(options: argparse.Namespace) -> int:
    paths = _paths(options)
    daemon.reset(paths)
    print(f"state of the local cloud in {paths.state} deleted")
    return 0


def _environment(options: argparse.Namespace) -> int:
    environment = client_environment(_paths(options).state)
    if options.json:
        print(json.dumps(environment))
    else:
        print("\n".join(f"export {name}='{value}'" for name, value in environment.items()))
    return 0


def _coverage(_options: argparse.Namespace) -> int:
    print(coverage.table(), end="")
    return 0


def _fault_add(options: argparse.Namespace) -> int:
    fault = Fault(options.service, options.operation, options.kind, options.count)
    _with_faults(options, lambda faults: faults.add(fault))
    return 0


def _fault_list(options: argparse.Namespace) -> int:
    for fault in _with_faults(options, lambda faults: faults.list()):
        print(f"{fault.service} {fault.operation} {fault.kind} x{fault.count}")
    return 0


def _fault_clear(options: argparse.Namespace) -> int:
    print(f"{_with_faults(options, lambda faults: faults.clear())} faults removed")
    return 0


def _paths(options: argparse.Namespace) -> StatePaths:
    return StatePaths((options.state or default_state()).absolute())


def _with_faults(options: argparse.Namespace, work: Callable[[Faults], _Result]) -> _Result:
    store = Store(_paths(options).store)
    try:
        return work(Faults(store))
    finally:
        store.close()


def _port(text: str) -> int:
    try:
        return parse_port(text, "the port")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
