"""A bucket's prefix as a folder: what jobs see of their OSS data sources."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.localcloud.services.oss.catalogue import checked_key, new_version
from infra.localcloud.services.oss.object import guessed_type
from infra.localcloud.wire import CHUNK

if TYPE_CHECKING:
    from infra.localcloud.services.oss.service import OssService


@dataclass(frozen=True)
class Changes:
    """What a synchronisation did, by path below the mount."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class Mount:
    """Keeps the objects under `prefix` of a bucket and the files of a folder alike, as often as it is asked to.

    What was the same last time is remembered by version and file, so both directions move only what changed. A new
    `Mount` remembers nothing: its first `pull` copies everything, and its first `push` removes nothing. The folder
    belongs to the mount: `pull` removes files whose objects went. Files that are still being written can be pushed
    early; the next `push` sends the rest. Symbolic links aren't followed, empty folders aren't kept: OSS has none.
    """

    def __init__(self, oss: OssService, bucket: str, prefix: str, folder: Path, *, writable: bool) -> None:
        """Describes a mount; nothing moves yet.

        Raises:
            ApiError: there is no such bucket.
        """
        self._catalogue = oss.catalogue
        self._catalogue.bucket(bucket)
        self.bucket = bucket
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.folder = folder
        self.writable = writable
        # path -> (blob of the object, size and time of the file) when both were known to be alike
        self._known: dict[str, tuple[str, int, int]] = {}

    def pull(self) -> Changes:
        """Makes the folder like the bucket.

        Raises:
            OSError: a file can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        objects = self._objects()
        files = self._files()
        added: list[str] = []
        changed: list[str] = []
        for path, (blob, modified) in objects.items():
            if path in files and self._known.get(path) == (blob, *files[path]):
                continue
            try:
                self._copy(blob, self.folder / path, modified)
            except FileNotFoundError:
                continue  # replaced or deleted meanwhile: the next pull has it
            self._remember(path, blob)
            (changed if path in files else added).append(path)
        removed = sorted(set(files) - set(objects))
        for path in removed:
            (self.folder / path).unlink(missing_ok=True)
            self._known.pop(path, None)
        return Changes(tuple(added), tuple(changed), tuple(removed))

    def push(self) -> Changes:
        """Makes the bucket like the folder: new, changed and removed files.

        Raises:
            PermissionError: the mount is read-only.
            ApiError: the bucket is gone, or a file's name can't be an object's.
        """
        if not self.writable:
            raise PermissionError(f"oss://{self.bucket}/{self.prefix} is mounted read-only")
        objects, files = self._objects(), self._files()
        added: list[str] = []
        changed: list[str] = []
        for path, stamp in sorted(files.items()):
            known = self._known.get(path)
            if known is not None and known[1:] == stamp and path in objects:
                continue
            blob = self._upload(path)
            if blob:
                self._known[path] = (blob, *stamp)
                (changed if path in objects else added).append(path)
        # Only what this mount once had can have been removed here; other objects are somebody else's news.
        removed = sorted(path for path in self._known if path not in files)
        for path in removed:
            del self._known[path]
            if path in objects:
                self._catalogue.delete(self.bucket, self.prefix + path)
        return Changes(tuple(added), tuple(changed), tuple(removed))

    def _copy(self, blob: str, target: Path, modified: float) -> None:
        with self._catalogue.path(blob).open("rb") as source:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{uuid.uuid4().hex}.partial")
            try:
                with partial.open("xb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
                os.utime(partial, (modified, modified))
                partial.replace(target)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def _objects(self) -> dict[str, tuple[str, float]]:
        found: dict[str, tuple[str, float]] = {}
        for key, version in self._catalogue.current(self.bucket, self.prefix):
            path = key.removeprefix(self.prefix)
            if path and not path.endswith("/") and _is_inside(path):
                modified = dt.datetime.fromisoformat(version["modified"]).timestamp()
                found[path] = (version["blob"], modified)
        return found

    def _files(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for root, _, names in os.walk(self.folder):
            for name in names:
                path = Path(root, name)
                if name.endswith(".partial") and name.startswith("."):
                    continue
                try:
                    status = path.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed while the folder is walked
                if path.is_file() and not path.is_symlink():
                    found[path.relative_to(self.folder).as_posix()] = (status.st_size, status.st_mtime_ns)
        return found

    def _remember(self, path: str, blob: str) -> None:
        status = (self.folder / path).stat()
        self._known[path] = (blob, status.st_size, status.st_mtime_ns)

    def _upload(self, path: str) -> str:
        """Stores a file as an object and returns its blob, empty when the file is gone."""
        key = self.prefix + path
        checked_key(key)
        try:
            with (self.folder / path).open("rb") as file:
                content = self._catalogue.write(iter(lambda: file.read(CHUNK), b""))
        except FileNotFoundError:
            return ""
        version = new_version(content, "Normal", {"content-type": guessed_type(key)})
        try:
            self._catalogue.put(self.bucket, key, version)
        except BaseException:
            self._catalogue.remove([content.blob])
            raise
        return content.blob


def _is_inside(path: str) -> bool:
    """Whether a key's path stays below the folder."""
    return not path.startswith("/") and all(part not in ("", ".", "..") for part in path.split("/"))
