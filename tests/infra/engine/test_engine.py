"""The engine that this tree uses runs Python programs through their whole life."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.engine import environment
from infra.engine.paths import Paths
from tests.infra.engine.project import Project

pytestmark = pytest.mark.engine

PROJECT = """\
name: probe
main: program/
runtime:
  name: python
  options:
    toolchain: pip
    virtualenv: .venv
"""
PROGRAM = """\
import sys
import pulumi
from files import File

config = pulumi.Config()
file = File("file", path=config.require("path"), text=config.get("text") or "first")
pulumi.export("digest", file.digest)
pulumi.export("virtualenv", sys.prefix)
pulumi.export("nested", config.get_object("nested"))
"""
# A provider that is pickled by reference, as those of infra/resources are.
FILES = """\
import hashlib
import pathlib

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult


class FileProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props):
        pathlib.Path(props["path"]).write_text(props["text"])
        return CreateResult(props["path"], self.outputs(props["path"]))

    def outputs(self, path):
        text = pathlib.Path(path).read_text()
        return {"path": path, "text": text, "digest": hashlib.sha256(text.encode()).hexdigest()}

    def diff(self, id_, olds, news):
        return DiffResult(changes=olds["text"] != news["text"])

    def read(self, id_, props):
        if not pathlib.Path(id_).exists():
            return ReadResult("", {})
        outs = self.outputs(id_)
        return ReadResult(id_, outs, inputs={**outs, "digest": None})

    def update(self, id_, olds, news):
        return UpdateResult(self.create(news).outs)

    def delete(self, id_, props):
        pathlib.Path(id_).unlink()


class File(Resource, module="probe", name="File"):
    digest: pulumi.Output[str]

    def __init__(self, name, path, text):
        super().__init__(FileProvider(), name, {"path": path, "text": text, "digest": None})
"""
POLICY_PROJECT = "runtime:\n  name: python\n  options:\n    virtualenv: ../.venv\n"
POLICY = """\
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy


def check(args, report):
    if args.props.get("text") == "forbidden":
        report("this text is forbidden")


PolicyPack("probe", policies=[ResourceValidationPolicy("text", "Texts.", check, EnforcementLevel.MANDATORY)])
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(
        tmp_path,
        {
            "Pulumi.yaml": PROJECT,
            "program/__main__.py": PROGRAM,
            "program/files.py": FILES,
            "policy/PulumiPolicy.yaml": POLICY_PROJECT,
            "policy/__main__.py": POLICY,
        },
    )
    (project.folder / "program" / ".venv").symlink_to("../.venv")
    project.pulumi("stack", "init", "dev")
    project.pulumi("config", "set", "path", str(tmp_path / "file"))
    return project


def test_life_of_a_program(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "file"
    project.pulumi("config", "set", "--path", "nested.list[0]", "one")
    assert "2 to create" in project.pulumi("preview")
    assert not file.exists()
    project.pulumi("up", "--yes", "--skip-preview")
    assert file.read_text() == "first"
    outputs = project.json("stack", "output", "--json")
    assert outputs["nested"] == {"list": ["one"]}
    assert Path(str(outputs["virtualenv"])).resolve() == Paths.of_environment().venv.resolve()
    assert "2 unchanged" in project.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    project.pulumi("refresh", "--yes", "--skip-preview", "--run-program", "--expect-no-changes")

    file.write_text("drifted")
    assert "~ pulumi-python:dynamic/probe:File" in " ".join(
        project.pulumi("refresh", "--preview-only", "--diff").split()
    )
    project.pulumi("refresh", "--yes", "--skip-preview")
    project.pulumi("up", "--yes", "--skip-preview")
    assert file.read_text() == "first"

    project.pulumi("destroy", "--yes", "--skip-preview")
    assert not file.exists()


def test_the_state_holds_the_providers_name_and_not_its_code(project: Project) -> None:
    project.pulumi("up", "--yes", "--skip-preview")
    state = json.loads(project.pulumi("stack", "export", "--show-secrets"))
    (file,) = [one for one in state["deployment"]["resources"] if one["type"] == "pulumi-python:dynamic/probe:File"]
    pickled = base64.b64decode(file["inputs"]["__provider"])
    assert b"FileProvider" in pickled
    assert len(pickled) < 100


def test_a_mandatory_policy_stops_a_preview(project: Project) -> None:
    project.pulumi("preview", "--policy-pack", "policy")
    project.pulumi("config", "set", "text", "forbidden")
    said = project.pulumi("preview", "--policy-pack", "policy", code=1)
    assert "this text is forbidden" in said


def test_a_programs_error_is_shown_with_its_line(project: Project) -> None:
    (project.folder / "program" / "__main__.py").write_text("import pulumi\nraise ValueError('no such thing')\n")
    said = project.pulumi("preview", code=1)
    assert "ValueError: no such thing" in said
    assert "__main__.py" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("virtualenv: .venv", "virtualenv: missing"), "doesn't exist"),
        (("toolchain: pip", "toolchain: poetry"), 'runtime option "toolchain" with the value "poetry"'),
    ],
)
def test_a_wrong_runtime_option_is_named(
    project: Project, change: tuple[str, str], message: str, own_host: Callable[[], None]
) -> None:
    own_host()
    (project.folder / "Pulumi.yaml").write_text(PROJECT.replace(*change))
    assert message in project.pulumi("preview", code=1)


@pytest.fixture
def own_host() -> Callable[[], None]:
    """Skips what only our language host promises where an installed Pulumi is used."""

    def skip() -> None:
        if "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" not in environment.engine_environment(
            Paths.of_environment(), ""
        ):
            pytest.skip("this machine's own Pulumi is used")

    return skip


def test_about_and_install(project: Project) -> None:
    runtime = project.json("about", "--json")["runtime"]
    assert isinstance(runtime, dict)
    assert runtime["language"] == "python"
    project.pulumi("install")
    assert (Paths.of_environment().venv / "bin" / "python").exists()
