"""The guest tools' own decisions; what they ask of init is tested with machines."""

import json
from pathlib import Path

import pytest

from infra.localcloud.hypervisor import guest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (etc / "group").write_text("root:x:0:\nwheel:x:10:\n")
    return tmp_path


def test_a_system_user_counts_down_from_999(root: Path) -> None:
    assert guest.add_user("a", system=True, create_home=False, root=root) == (999, 999)
    assert guest.add_user("b", system=True, create_home=False, root=root) == (998, 998)
    assert (root / "etc/passwd").read_text().splitlines()[-1] == "b:x:998:998::/home/b:/bin/bash"
    assert not (root / "home").exists()


def test_a_user_joins_groups(root: Path) -> None:
    guest.add_group("docker", etc=root / "etc")
    guest.add_user("a", groups=["wheel", "docker"], create_home=False, root=root)
    guest.add_to_groups("a", ["wheel"], etc=root / "etc")
    assert "wheel:x:10:a" in (root / "etc/group").read_text().splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "root"}, "already exists"),
        ({"name": "Upper"}, "invalid user name"),
        ({"name": "a", "uid": 0}, "UID 0 is not unique"),
        ({"name": "a", "group": "nope"}, "group 'nope' does not exist"),
    ],
)
def test_accounts_that_cant_be(root: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        guest.add_user(**arguments, create_home=False, root=root)  # type: ignore[arg-type] # the cases are mixed


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("opensearch-2.19.1", "opensearch"),
        ("java-17-openjdk-headless", "java-17-openjdk-headless"),
        ("jq=1.6", "jq"),
        ("python3.11", "python3.11"),
        ("curl-7.61.1-33.al8.x86_64", "curl"),
    ],
)
def test_package_specifications(wanted: str, name: str) -> None:
    assert guest.package_name(wanted) == name


def test_packages_are_told_apart() -> None:
    held = ["java-17-openjdk", "jq"]
    assert guest.find_packages(["java-17-openjdk", "jq-1.6", "nginx"], held) == (
        ["java-17-openjdk", "jq-1.6"],
        ["nginx"],
    )


def test_dnf_refuses_what_the_image_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = tmp_path / "packages.json"
    packages.write_text(json.dumps({"jq": str(tmp_path), "gone": str(tmp_path / "gone")}))
    monkeypatch.setattr(guest, "PACKAGES", str(packages))
    assert guest.dnf("dnf", ["-y", "install", "jq"]) == 0
    assert "jq is already installed" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="1"):
        guest.dnf("dnf", ["install", "-y", "gone", "nginx"])
    assert "Unable to find a match: gone nginx (this image holds: jq)" in capsys.readouterr().err
