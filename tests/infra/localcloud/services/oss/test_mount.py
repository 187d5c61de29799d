"""A bucket's prefix as a folder, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.localcloud.service import ApiError
from infra.localcloud.services.oss.catalogue import new_version
from infra.localcloud.services.oss.mount import Changes, Mount
from infra.localcloud.services.oss.service import OssService
from tests.infra.localcloud.conftest import Running

NAME = "ragrec-mount"


@pytest.fixture
def oss(local: Running) -> Iterator[OssService]:
    service = local.cloud.service("oss")
    assert isinstance(service, OssService)
    service.catalogue.create_bucket(
        NAME, {"name": NAME, "region": "cn-hangzhou", "acl": "private", "blockPublicAccess": True}
    )
    yield service
    for key in service.catalogue.objects(NAME).keys():  # noqa: SIM118 - a collection, no dict
        service.catalogue.delete(NAME, key)
    service.catalogue.delete_bucket(NAME)


def put(oss: OssService, key: str, content: bytes) -> None:
    kept = oss.catalogue.write(iter([content]))
    oss.catalogue.put(NAME, key, new_version(kept, "Normal", {}))


def contents(oss: OssService) -> dict[str, bytes]:
    return {key: oss.catalogue.path(each["blob"]).read_bytes() for key, each in oss.catalogue.current(NAME)}


def test_pull_follows_the_bucket(oss: OssService, tmp_path: Path) -> None:
    put(oss, "raw/a", b"1")
    put(oss, "raw/deep/b", b"2")
    put(oss, "other", b"3")
    put(oss, "raw/../escape", b"4")
    mount = Mount(oss, NAME, "/raw/", tmp_path / "raw", writable=False)
    assert mount.pull() == Changes(added=("a", "deep/b"))
    assert (tmp_path / "raw/deep/b").read_bytes() == b"2"
    assert not mount.pull()
    put(oss, "raw/a", b"5")
    oss.catalogue.delete(NAME, "raw/deep/b")
    (tmp_path / "raw/stray").write_text("")
    assert mount.pull() == Changes(changed=("a",), removed=("deep/b", "stray"))
    assert (tmp_path / "raw/a").read_bytes() == b"5"
    assert not (tmp_path / "escape").exists()


def test_push_sends_what_changed(oss: OssService, tmp_path: Path) -> None:
    put(oss, "out/kept", b"kept")
    mount = Mount(oss, NAME, "out", tmp_path, writable=True)
    mount.pull()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/new").write_bytes(b"new")
    assert mount.push() == Changes(added=("sub/new",))
    assert not mount.push()
    (tmp_path / "sub/new").write_bytes(b"newer")
    (tmp_path / "kept").unlink()
    put(oss, "out/foreign", b"by somebody else")
    assert mount.push() == Changes(changed=("sub/new",), removed=("kept",))
    assert contents(oss) == {"out/foreign": b"by somebody else", "out/sub/new": b"newer"}


def test_a_new_mount_removes_nothing_by_its_first_push(oss: OssService, tmp_path: Path) -> None:
    put(oss, "out/a", b"1")
    mount = Mount(oss, NAME, "out", tmp_path, writable=True)
    assert not mount.push()
    assert contents(oss) == {"out/a": b"1"}


def test_what_a_mount_refuses(oss: OssService, tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="read-only"):
        Mount(oss, NAME, "", tmp_path, writable=False).push()
    with pytest.raises(ApiError, match="NoSuchBucket"):
        Mount(oss, "not-there", "", tmp_path, writable=False)


def test_an_interrupted_copy_leaves_nothing(oss: OssService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise ApiError(500, "InternalError", "broken")

    monkeypatch.setattr(oss.catalogue, "put", broken)
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(ApiError):
        Mount(oss, NAME, "", tmp_path, writable=True).push()
    assert contents(oss) == {}


def test_a_sweep_removes_what_no_object_has(oss: OssService, tmp_path: Path) -> None:
    put(oss, "a", b"1")
    orphan = oss.catalogue.write(iter([b"2"]))
    assert oss.catalogue.sweep(before=0) == 0
    assert oss.catalogue.sweep(before=4e9) == 1
    assert not oss.catalogue.path(orphan.blob).exists()
    assert contents(oss) == {"a": b"1"}
