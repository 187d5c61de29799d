"""Request bodies: small in memory, large in files, lost when the disk is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.localcloud.service import ApiError
from infra.localcloud.wire import Body, split_authority


def test_small_bodies_touch_no_disk(tmp_path: Path) -> None:
    with Body(tmp_path / "spool", memory_limit=4) as body:
        body.write(b"1234")
        body.finish()
        assert body.read(10) == b"1234"
        assert not (tmp_path / "spool").exists()


def test_large_bodies_lie_in_one_file_until_they_are_saved(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with Body(spool, memory_limit=4) as body:
        for piece in (b"123", b"45", b"6"):
            body.write(piece)
        body.finish()
        assert len(list(spool.iterdir())) == 1
        assert b"".join(body.chunks()) == b"123456"
        with pytest.raises(ApiError, match="at most 5"):
            body.read(5)
        body.save(tmp_path / "kept/it")
    assert (tmp_path / "kept/it").read_bytes() == b"123456"
    assert list(spool.iterdir()) == []


def test_what_is_not_saved_goes(tmp_path: Path) -> None:
    with Body(tmp_path, memory_limit=1) as body:
        body.write(b"123")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_once_the_body_is_asked_for(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.write_text("a file where a folder should be")
    body = Body(spool, memory_limit=1)
    body.write(b"123")
    body.write(b"456")
    body.finish()
    with pytest.raises(OSError, match="exists"):
        body.check()
    assert body.size == 6


@pytest.mark.parametrize(
    ("authority", "expected"),
    [("Host:80", ("host", 80)), ("host", ("host", None)), ("[::1]:7780", ("::1", 7780)), ("", ("", None))],
)
def test_authorities(authority: str, expected: tuple[str, int | None]) -> None:
    assert split_authority(authority) == expected
