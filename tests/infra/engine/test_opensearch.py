"""OpenSearch's assembly: what is pinned, what is refused, what the launcher hands to Java."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.engine.opensearch import AssemblyError, Recipe, assembly, ensure, java_version
from infra.engine.opensearch.recipe import FOLDER, PLUGINS, Artifact, Pin, download_pom, read_lock, write_lock

LAUNCHER = FOLDER / "home" / "bin" / "opensearch"
ROOT = Path(__file__).resolve().parents[3]
DESCRIPTOR = "description=x\nname=opensearch-knn\n"


def silent(_: str) -> None:
    """Takes no notice of progress."""


@pytest.fixture(autouse=True)
def _no_installed_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENSEARCH_HOME", raising=False)


def test_the_lock_has_all_that_the_recipe_names() -> None:
    recipe = Recipe.load()
    locked = {(pin.folder, pin.artifact) for pin in recipe.pins}

    assert {("lib", artifact) for artifact in recipe.library} <= locked
    assert {(f"modules/{module.name}", module.artifact) for module in recipe.modules} <= locked
    assert {(PLUGINS, artifact) for artifact in recipe.plugins} <= locked


def test_no_module_has_a_jar_of_the_library_or_of_what_it_extends() -> None:
    recipe = Recipe.load()

    def names(folder: str) -> set[tuple[str, str]]:
        return {(pin.artifact.group, pin.artifact.name) for pin in recipe.pins if pin.folder == folder}

    for module in recipe.modules:
        parents = names("lib").union(*(names(f"modules/{name}") for name in module.extends))
        assert not names(f"modules/{module.name}") & parents, module.name


def test_the_lock_names_no_host() -> None:
    assert "://" not in (FOLDER / "artifacts.lock").read_text() + (FOLDER / "opensearch.toml").read_text()


def test_a_lock_survives_writing_and_reading() -> None:
    pins = [
        Pin(Artifact("g", "a", "1", "zip"), "0" * 64, "plugins"),
        Pin(Artifact("g", "b", "2", "jar", "linux"), "1" * 64, "lib"),
    ]

    assert list(read_lock(write_lock(pins))) == [pins[1], pins[0]]
    with pytest.raises(ValueError, match=r"artifacts\.lock, line 2"):
        list(read_lock("# comment\nnot a pin\n"))


@pytest.mark.parametrize("text", ["a:b", "a:b:", "a:b:c:d:e:f"])
def test_a_malformed_coordinate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no Maven coordinate"):
        Artifact.parse(text)


def test_the_key_follows_the_recipe(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "recipe")
    before = Recipe.load(tmp_path / "recipe").key
    assert before == Recipe.load().key

    options = tmp_path / "recipe" / "home" / "config" / "jvm.options"
    options.write_text(options.read_text() + "-Dx=y\n")

    assert Recipe.load(tmp_path / "recipe").key != before


def test_a_pom_copies_what_is_pinned_and_resolves_nothing() -> None:
    pin = Pin(Artifact("g", "a", "1", "zip"), "0" * 64, "plugins")

    pom = download_pom([pin], "org.example:plugin:3", Path("/target & more"))

    assert "<artifactId>a</artifactId><version>1</version><type>zip</type>" in pom
    assert "<outputDirectory>/target &amp; more/plugins</outputDirectory>" in pom
    assert "<dependencies>" not in pom


def test_policies_grant_what_the_recipe_says() -> None:
    modules = {module.name: module for module in Recipe.load().modules}

    assert modules["geo"].policy() == ""
    policy = modules["reindex"].policy()
    assert policy.startswith('grant {\n  permission java.net.SocketPermission "*", "connect";\n};\n')
    assert 'grant codeBase "${codebase.httpasyncclient}" {' in policy
    assert "extended.plugins=lang-painless\n" in modules["analysis-common"].descriptor("2.19.1", 17)


def command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but what a test puts there and the system's own commands, without Java and Maven."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sh", "cat", "cp", "mkdir", "dirname"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def test_without_maven_it_says_so(tools: Path, tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match="mvn is missing: install Apache Maven"):
        ensure(tmp_path / "cache", silent)


@pytest.mark.parametrize(
    ("answer", "words"), [("", "there is no java"), ("11.0.2", "Java 11 is not"), ("25.0.1", "Java 25 is not")]
)
def test_without_a_fitting_java_it_says_so(tools: Path, tmp_path: Path, answer: str, words: str) -> None:
    command(tools, "mvn", "exit 0")
    if answer:
        command(tools, "java", f"""echo 'openjdk version "{answer}" 2025-01-01' >&2""")

    with pytest.raises(AssemblyError, match=words):
        ensure(tmp_path / "cache", silent)


def test_a_full_disk_is_seen_before_the_download(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tools, "mvn", "exit 0")
    command(tools, "java", """echo 'openjdk version "17.0.1"' >&2""")
    monkeypatch.setattr(assembly, "NEEDED_BYTES", 10**18)

    with pytest.raises(AssemblyError, match="GB free; OpenSearch needs"):
        ensure(tmp_path / "cache", silent)


def recipe_of(content: bytes, pinned: bytes) -> Recipe:
    pin = Pin(Artifact("g", "plugin", "1", "zip"), hashlib.sha256(pinned).hexdigest(), PLUGINS)
    return Recipe("9", 17, "g:maven:1", (), (), (), ("*_gpu.jar",), (pin,), "0123456789ab")


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in ("plugin-descriptor.properties", "plugin.jar", "big_gpu.jar", "config/roles.yml"):
            file.writestr(zipfile.ZipInfo(name), DESCRIPTOR)
    return content.getvalue()


@pytest.fixture
def maven(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven that copies one archive, and counts how often it was called."""
    (tmp_path / "archive.zip").write_bytes(archive())
    log = tmp_path / "calls"
    copy = f'target=$(dirname "$3")/plugins; mkdir -p "$target"; cp {tmp_path}/archive.zip "$target/plugin-1.zip"'
    command(tools, "mvn", f"echo call >> {log}; {copy}; echo '[INFO] Configured Artifact: g:plugin:1:zip'")
    command(tools, "java", """echo 'openjdk version "17.0.1"' >&2""")
    monkeypatch.setattr(assembly, "NEEDED_BYTES", 0)
    return log


def test_a_home_is_laid_out_once(maven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(archive(), archive())
    monkeypatch.setattr(Recipe, "load", lambda: recipe)

    home = ensure(tmp_path / "cache", silent)

    assert home == tmp_path / "cache" / "opensearch" / "9-0123456789ab"
    assert (home / "plugins" / "opensearch-knn" / "plugin.jar").is_file()
    assert not (home / "plugins" / "opensearch-knn" / "big_gpu.jar").exists()
    assert (home / "config" / "opensearch-knn" / "roles.yml").is_file()
    assert os.access(home / "bin" / "opensearch", os.X_OK)
    assert ensure(tmp_path / "cache", silent) == home
    assert maven.read_text() == "call\n"


def test_another_artifact_than_the_pinned_one_is_refused(
    maven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(archive(), b"something else")
    monkeypatch.setattr(Recipe, "load", lambda: recipe)

    with pytest.raises(AssemblyError, match=r"g:plugin:1:zip has sha256 \w+, but artifacts\.lock pins"):
        ensure(tmp_path / "cache", silent)

    assert [path.name for path in (tmp_path / "cache" / "opensearch").iterdir()] == [".lock"]


def test_mavens_first_error_is_the_message(tools: Path, maven: Path, tmp_path: Path) -> None:
    command(tools, "mvn", "echo '[ERROR] Could not find artifact org.opensearch:opensearch:jar'; exit 1")

    with pytest.raises(AssemblyError, match="Maven can't fetch OpenSearch: Could not find artifact"):
        ensure(tmp_path / "cache", silent)


def test_an_installed_distribution_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "installed"
    monkeypatch.setenv("OPENSEARCH_HOME", str(home))
    with pytest.raises(AssemblyError, match="holds no OpenSearch"):
        ensure(tmp_path / "cache", silent)
    (home / "bin").mkdir(parents=True)
    command(home / "bin", "opensearch", "exit 0")
    with pytest.raises(AssemblyError, match="lacks the plugins opensearch-knn, "):
        ensure(tmp_path / "cache", silent)
    for name in assembly.NEEDED_PLUGINS:
        (home / "plugins" / name).mkdir(parents=True)

    assert ensure(tmp_path / "cache", silent) == home


def test_the_version_of_java_is_found(tools: Path) -> None:
    assert java_version({"JAVA_HOME": "/nowhere"}) == 0


def test_nothing_but_the_standard_library_is_needed() -> None:
    code = "import infra.engine.opensearch, sys; print('yaml' in sys.modules, 'pulumi' in sys.modules)"

    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "False False\n"


def launched(tmp_path: Path, options: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs the launcher with a Java that prints its arguments, as `nobody` where this is root."""
    home, java = tmp_path / "home", tmp_path / "java"
    shutil.copytree(FOLDER / "home", home)
    (java / "bin").mkdir(parents=True)
    command(
        java / "bin",
        "java",
        """if [ "$1" = -version ]; then echo 'openjdk version "17.0.1"' >&2; else printf '%s\\n' "$@"; fi""",
    )
    (home / "config" / "jvm.options").write_text(options)
    (home / "config" / "jvm.options.d").mkdir()
    (home / "config" / "jvm.options.d" / "heap.options").write_text("-Xmx2g\n")
    prefix = []
    if os.getuid() == 0:
        for path in (tmp_path, *tmp_path.parents):
            if path.is_relative_to("/tmp") and path != Path("/tmp"):
                path.chmod(0o755)
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return subprocess.run(
        [*prefix, str(home / "bin" / "opensearch"), "-p", "pid file"],
        env={"PATH": os.environ["PATH"], "JAVA_HOME": str(java), "TMPDIR": "/tmp", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_launcher_reads_options_for_this_java_only(tmp_path: Path) -> None:
    options = "# comment\n-Xms1g\n8-10:-XX:+Old\n11-:-XX:+New\n17:-XX:+This\n21-:-XX:+Later\n"

    done = launched(tmp_path, options, {"OPENSEARCH_JAVA_OPTS": "-Xmx3g -Da=*"})

    given = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert {"-Xms1g", "-XX:+New", "-XX:+This", "-Da=*"} <= set(given)
    assert not {"-XX:+Old", "-XX:+Later"} & set(given)
    assert [option for option in given if option.startswith("-Xmx")] == ["-Xmx2g", "-Xmx3g"]
    assert f"-Dopensearch.path.home={tmp_path}/home" in given
    assert given[-3:] == ["org.opensearch.bootstrap.OpenSearch", "-p", "pid file"]


def test_the_launcher_names_a_missing_configuration(tmp_path: Path) -> None:
    done = launched(tmp_path, "", {"OPENSEARCH_PATH_CONF": "/nowhere"})

    assert done.returncode == 78
    assert "/nowhere/opensearch.yml is missing" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_the_launcher_refuses_root() -> None:
    done = subprocess.run([str(LAUNCHER)], capture_output=True, text=True, check=False)

    assert done.returncode == 77
    assert "refuses to run as root" in done.stderr
