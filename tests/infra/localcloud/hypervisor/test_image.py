"""The image's parts are found, and its own files are written once."""

import subprocess
from pathlib import Path

import pytest

from infra.localcloud.hypervisor import image
from infra.localcloud.hypervisor.hypervisor import mounts_below, user_data_document


def jdk(folder: Path, version: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/java").touch(mode=0o755)
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


def test_java_home_comes_first(tmp_path: Path) -> None:
    home = jdk(tmp_path / "jdk", "21.0.1")
    assert image.find_java({"JAVA_HOME": str(home), "PATH": ""}) == home


def test_an_old_java_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = jdk(tmp_path / "old", "1.8.0"), jdk(tmp_path / "new", "17.0.2")
    assert image.find_java({"JAVA_HOME": str(old), "PATH": str(new / "bin")}) == new


def test_the_newest_opensearch_is_taken(tmp_path: Path) -> None:
    assert image.find_opensearch(tmp_path) is None
    home = tmp_path / "opensearch/2.19.1-abc"
    (home / "lib").mkdir(parents=True)
    (home / "lib/opensearch-2.19.1.jar").touch()
    (home / "lib/opensearch-core-2.19.1.jar").touch()
    assert image.find_opensearch(tmp_path) == home


def test_the_image_is_written_once_and_survives_json(tmp_path: Path) -> None:
    home = jdk(tmp_path / "jdk", "17.0.1")
    environ = {"JAVA_HOME": str(home), "PATH": "", "RAGREC_CACHE": str(tmp_path / "cache")}
    described = image.describe(tmp_path, environ=environ)
    assert image.Image.load(described.document()) == described
    assert (str(home), str(home)) in described.binds
    stamp = (described.usr_layer / "bin/systemctl").stat().st_mtime_ns
    assert image.describe(tmp_path, environ=environ) == described
    assert (described.usr_layer / "bin/systemctl").stat().st_mtime_ns == stamp
    assert "opensearch" not in (described.usr_layer / "lib/ragrec/packages.json").read_text()


def test_guest_tools_start_and_refuse_what_they_dont_know(tmp_path: Path) -> None:
    home = jdk(tmp_path / "jdk", "17.0.1")
    layer = image.describe(tmp_path, environ={"JAVA_HOME": str(home), "PATH": ""}).usr_layer
    program = (layer / "bin/dnf").read_text().replace("/usr/lib/ragrec", str(layer / "lib/ragrec"))
    (tmp_path / "dnf").write_text(program)
    (tmp_path / "dnf").chmod(0o755)
    result = subprocess.run([tmp_path / "dnf", "--frobnicate", "install"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (1, "dnf: the option --frobnicate is not supported on this image\n")


def test_mounts_below_a_folder_are_seen() -> None:
    info = (
        "22 1 0:20 / /proc rw - proc proc rw\n"
        "30 1 0:9 / /state/machines/i-1/disk/opt rw - ext4 /dev/a rw\n"
        "31 1 0:9 / /state/machines/i\\0402 rw - ext4 /dev/a rw\n"
    )
    assert mounts_below(Path("/state/machines/i-1"), info) == [Path("/state/machines/i-1/disk/opt")]
    assert mounts_below(Path("/state/machines/i 2"), info) == [Path("/state/machines/i 2")]
    assert mounts_below(Path("/state/machines/i"), info) == []


def test_wrong_user_data_becomes_the_reason() -> None:
    assert user_data_document("#cloud-config\nfoo: 1\n") == {"error": "user data: the key 'foo' is not supported"}
