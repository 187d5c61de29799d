"""Builds a home folder of OpenSearch from Maven artifacts; the result runs as the genuine server."""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.engine.opensearch.recipe import FOLDER, PLUGINS, Pin, Recipe, download_pom

Report = Callable[[str], None]
NEEDED_BYTES = 1_500_000_000  # downloads, their copy, and the home
NEEDED_PLUGINS = ("opensearch-knn", "opensearch-ml", "opensearch-neural-search", "opensearch-security")


class AssemblyError(RuntimeError):
    """OpenSearch can't be had; the message says what is missing and what to do."""


def ensure(cache: Path, report: Report) -> Path:
    """The home folder of OpenSearch, assembled below `cache` unless it is there already.

    An installed distribution takes its place where the environment names it by ``OPENSEARCH_HOME``. The folder is
    complete or not there: an interrupted call leaves downloads in Maven's local repository, and the next one takes
    them up. The home can be moved and mounted read-only; its ``config/`` is a start to copy from
    (``OPENSEARCH_PATH_CONF``).

    Args:
        cache: folder for what is kept between runs.
        report: receives one line of progress at a time.

    Raises:
        AssemblyError: something is missing, or an artifact isn't the pinned one.
    """
    if installed := os.environ.get("OPENSEARCH_HOME"):
        return _installed(Path(installed))
    recipe = Recipe.load()
    root = cache / "opensearch"
    home = root / recipe.home_name
    if home.is_dir():
        return home
    root.mkdir(parents=True, exist_ok=True)
    with _exclusive(root / ".lock", report):
        if home.is_dir():
            return home
        _check(recipe, root)
        staging = root / f".{recipe.home_name}"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            _download(recipe, staging / "downloads", report)
            _lay_out(recipe, staging / "downloads", staging / "home", report)
            (staging / "home").rename(home)
        except OSError as error:
            raise AssemblyError(f"OpenSearch can't be assembled in {root}: {error}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    report(f"OpenSearch {recipe.version}: assembled")
    return home


def _installed(home: Path) -> Path:
    if not os.access(home / "bin" / "opensearch", os.X_OK):
        raise AssemblyError(f"OPENSEARCH_HOME={home} holds no OpenSearch (bin/opensearch): unset it or correct it")
    missing = [name for name in NEEDED_PLUGINS if not (home / "plugins" / name).is_dir()]
    if missing:
        raise AssemblyError(
            f"OPENSEARCH_HOME={home} lacks the plugins {', '.join(missing)}: install the full distribution"
        )
    return home


@contextmanager
def _exclusive(path: Path, report: Report) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("OpenSearch: another process is assembling it; waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check(recipe: Recipe, root: Path) -> None:
    if not recipe.pins:
        raise AssemblyError("artifacts.lock is missing: run `python -m infra.engine.opensearch.lock`")
    if shutil.which("mvn") is None:
        raise AssemblyError(
            "mvn is missing: install Apache Maven 3.8 or later, or set OPENSEARCH_HOME to an OpenSearch"
        )
    version = java_version(os.environ)
    if not recipe.java <= version < 24:  # Java 24 took the security manager out
        found = f"Java {version} is not" if version else "there is no java; it is not"
        raise AssemblyError(
            f"OpenSearch runs on JDK {recipe.java} to 23; {found} supported: install a JDK 17 or set JAVA_HOME"
        )
    free = shutil.disk_usage(root).free
    if free < NEEDED_BYTES:
        raise AssemblyError(
            f"{root} has {free / 1e9:.1f} GB free; OpenSearch needs {NEEDED_BYTES / 1e9:.1f} GB there"
        )


def java_version(environment: Mapping[str, str]) -> int:
    """Major version of the Java that the environment leads to (JAVA_HOME, then PATH); 0 when there is none."""
    home = environment.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else "java"
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return 0
    match = re.search(r'version "(\d+)', answer)
    return int(match[1]) if match else 0


def _download(recipe: Recipe, target: Path, report: Report) -> None:
    target.mkdir(parents=True)
    pom = target / "pom.xml"
    pom.write_text(download_pom(recipe.pins, recipe.maven_plugin, target))
    report(f"OpenSearch {recipe.version}: fetching {len(recipe.pins)} artifacts (490 MB the first time)")
    command = ["mvn", "--batch-mode", "--file", str(pom), f"{recipe.maven_plugin}:copy"]
    errors = _follow(command, len(recipe.pins), report)
    if errors is not None:
        raise AssemblyError("Maven can't fetch OpenSearch: " + (errors or "it gave no reason"))
    for pin in recipe.pins:
        path = target / pin.folder / pin.artifact.file_name
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != pin.sha256:
            raise AssemblyError(
                f"{pin.artifact} has sha256 {found}, but artifacts.lock pins {pin.sha256}: remove its folder from"
                " Maven's local repository and try again; if it stays so, the registry serves another file"
            )


def _follow(command: Sequence[str], total: int, report: Report) -> str | None:
    """Runs Maven and reports what it has; None when it succeeded, else its first error."""
    errors: list[str] = []
    done, size, told = 0, 0.0, time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout or ():
                if line.startswith("[ERROR]"):
                    errors.append(line.removeprefix("[ERROR]").strip())
                elif "Configured Artifact" in line:
                    done += 1
                elif match := re.search(r"Downloaded from .*/(\S+) \(([\d.]+) (kB|MB|GB|B) at", line):
                    size += float(match[2]) * {"B": 1e-6, "kB": 1e-3, "MB": 1, "GB": 1e3}[match[3]]
                elif "Downloading from" in line and "ml-plugin" in line and line.rstrip().endswith(".zip"):
                    report("OpenSearch: fetching opensearch-ml-plugin, the largest one (363 MB)")
                if time.monotonic() - told > 3:
                    told = time.monotonic()
                    report(f"OpenSearch: {done} of {total} artifacts, {size:.0f} MB fetched")
        except BaseException:
            process.terminate()
            raise
    return None if process.returncode == 0 else next(iter(errors), "")


def _lay_out(recipe: Recipe, downloads: Path, home: Path, report: Report) -> None:
    report(f"OpenSearch {recipe.version}: laying out its home")
    for name in ("bin", "config/jvm.options.d", "extensions", "lib", "modules", "plugins"):
        (home / name).mkdir(parents=True)
    for pin in recipe.pins:
        if pin.folder != PLUGINS:
            (home / pin.folder).mkdir(exist_ok=True)
            shutil.copy(downloads / pin.folder / pin.artifact.file_name, home / pin.folder)
    for module in recipe.modules:
        folder = home / "modules" / module.name
        (folder / "plugin-descriptor.properties").write_text(module.descriptor(recipe.version, recipe.java))
        if policy := module.policy():
            (folder / "plugin-security.policy").write_text(policy)
    for pin in recipe.pins:
        if pin.folder == PLUGINS:
            _unpack_plugin(pin, downloads / PLUGINS / pin.artifact.file_name, home, recipe.drop)
    shutil.copytree(FOLDER / "home", home, dirs_exist_ok=True)


def _unpack_plugin(pin: Pin, archive: Path, home: Path, drop: Sequence[str]) -> None:
    with zipfile.ZipFile(archive) as content:
        descriptor = content.read("plugin-descriptor.properties").decode()
        match = re.search(r"^name=(.+)$", descriptor, re.MULTILINE)
        if match is None:
            raise AssemblyError(f"{pin.artifact}: plugin-descriptor.properties has no name")
        name = match[1].strip()
        members = [m for m in content.namelist() if not any(fnmatch.fnmatch(Path(m).name, p) for p in drop)]
        content.extractall(home / "plugins" / name, members)
    configuration = home / "plugins" / name / "config"
    if configuration.is_dir():
        configuration.rename(home / "config" / name)
    for script in (home / "plugins" / name).glob("tools/*.sh"):
        script.chmod(0o755)
