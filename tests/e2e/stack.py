"""A stack of its own for end-to-end tests: own state, own local cloud, own addresses, the real program."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.engine.environment import environment
from infra.engine.paths import TREE, Paths

NAME = "e2e"
MINUTES = 20


@dataclass
class Stack:
    """The stack `e2e`; every command runs the engine as a person would."""

    state: Path
    network: str
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> Paths:
        """The tree with this stack's own state."""
        return Paths(TREE, Paths.of_environment().cache, self.state)

    @property
    def config(self) -> Path:
        """The configuration file, outside of the tree."""
        return self.state / "project" / f"Pulumi.{NAME}.yaml"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of every command."""
        return {**os.environ, **environment(self.paths), "RAGREC_STATE": str(self.state), "NO_COLOR": "1"}

    def start(self) -> None:
        """Starts the local cloud on a free port; makes the stack of dev's configuration, with little training."""
        # The engine's part of the state; everything that takes time is cached.
        setup = [str(TREE / "scripts" / "setup")]
        subprocess.run(setup, env={**os.environ, "RAGREC_STATE": str(self.state)}, check=True, capture_output=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.localcloud("start", "--port", str(port))
        document = yaml.safe_load((TREE / "Pulumi.dev.yaml").read_text())
        document.pop("encryptionsalt", None)
        document["config"]["ragrec:network"]["cidr"] = self.network
        document["config"]["ragrec:data"]["source"] = "sample"
        document["config"]["ragrec:training"]["parameters"] = {"max_steps": 8, "evaluations": 1}
        self.config.parent.mkdir(parents=True)
        self.config.write_text(yaml.safe_dump(document))
        (self.config.parent / "Pulumi.yaml").write_text("name: ragrec\nruntime: python\n")
        self.run("pulumi", "stack", "init", NAME, "--no-select", "--non-interactive", folder=self.config.parent)

    def set(self, key: str, value: Any) -> None:
        """Changes the configuration."""
        document = yaml.safe_load(self.config.read_text())
        document["config"][f"ragrec:{key}"] = value
        self.config.write_text(yaml.safe_dump(document))

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Runs ``pulumi``, and returns all that it printed."""
        options = ["--stack", NAME, "--config-file", str(self.config), "--non-interactive"]
        return self.run("pulumi", *arguments, *options, fails=fails)

    def up(self, *arguments: str) -> str:
        """Brings the stack up and reads its outputs."""
        said = self.pulumi("up", "--yes", "--skip-preview", *arguments)
        text = self.run(
            "pulumi", "stack", "output", "--stack", NAME, "--json", "--show-secrets", folder=self.config.parent
        )
        self.outputs = json.loads(text)
        return said

    def secrets(self) -> dict[str, str]:
        """Every secret value of the stack in clear, by where it stands."""
        text = self.run("pulumi", "stack", "export", "--stack", NAME, "--show-secrets", folder=self.config.parent)
        found: dict[str, str] = {}
        for resource in json.loads(text)["deployment"]["resources"]:
            if not resource["type"].endswith(":Credentials"):
                continue
            for name in ("passwords", "tokens", "keys", "authority_key"):
                # A secret is kept as JSON text inside of a marked object.
                value = json.loads(resource["outputs"][name]["plaintext"])
                for key, secret in value.items() if isinstance(value, dict) else [("", value)]:
                    found[f"{name}.{key}"] = secret
        return found

    def localcloud(self, *arguments: str) -> str:
        """Runs a command of the local cloud."""
        python = str(TREE / ".venv" / "bin" / "python")
        command = [python, "-m", "infra.localcloud", arguments[0], "--state", str(self.state), *arguments[1:]]
        done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *command: str, folder: Path = TREE, fails: bool = False) -> str:
        """Runs a command in the stack's environment."""
        variables = self.variables
        done = subprocess.run(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Standard output of some commands is JSON; of the others, everything is wanted.
            stderr=subprocess.DEVNULL if "--json" in command or "export" in command else subprocess.STDOUT,
            text=True,
            timeout=MINUTES * 60,
        )
        assert (done.returncode != 0) is fails, done.stdout[-6000:]
        return done.stdout

    def close(self) -> None:
        """Ends the local cloud with all of its machines, whatever state the stack is in."""
        self.localcloud("reset")
