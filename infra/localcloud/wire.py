"""HTTP messages as the local cloud sees them, with bodies of any size in bounded memory."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import parse_qsl, unquote

from infra.localcloud.service import ApiError, Call, Reply, Service

MEMORY_LIMIT = 1 << 20  # bytes of a body that stay in memory
CHUNK = 1 << 18


class Body:
    """A request body: in memory while it is small, else in a file of the spool folder.

    Use it as a context manager, or call `discard`: the file goes unless `save` took it.
    """

    def __init__(self, spool: Path, *, memory_limit: int = MEMORY_LIMIT) -> None:
        self._spool = spool
        self._memory_limit = memory_limit
        self._memory = bytearray()
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._failure: OSError | None = None
        self.size = 0

    @classmethod
    def of(cls, content: bytes, spool: Path) -> Body:
        """A body that holds `content`."""
        body = cls(spool)
        body.write(content)
        body.finish()
        return body

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Appends bytes. When they can't be kept, `check` says so; the rest of the body is then dropped."""
        self.size += len(data)
        if self._failure is not None:
            return
        try:
            self._write(data)
        except OSError as error:
            self._failure = error
            self.discard()

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        if self._file is None:
            if self.size <= self._memory_limit:
                self._memory += data
                return
            self._spool.mkdir(parents=True, exist_ok=True)
            self._path = self._spool / uuid.uuid4().hex
            self._file = self._path.open("xb")
            self._file.write(self._memory)
            self._memory.clear()
        self._file.write(data)

    def check(self) -> None:
        """Makes sure that the whole body was kept.

        Raises:
            OSError: it was not, for example because the disk is full.
        """
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Nothing more will be written."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._failure = self._failure or error

    def open(self) -> BinaryIO:
        """The body for reading, from its start."""
        return self._path.open("rb") if self._path else BytesIO(bytes(self._memory))

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces of at most 256 KiB."""
        with self.open() as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def read(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            ApiError: it is longer than `limit` bytes.
        """
        if self.size > limit:
            raise ApiError(413, "RequestEntityTooLarge", f"The request body has {self.size} bytes; at most {limit}.")
        with self.open() as file:
            return file.read()

    def save(self, target: Path) -> None:
        """Puts the content at `target` in one step; the body is empty afterwards."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._path is None:
            self._spool.mkdir(parents=True, exist_ok=True)
            self._path = self._spool / uuid.uuid4().hex
            self._path.write_bytes(self._memory)
        self._path.replace(target)
        self._path = None
        self._memory.clear()

    def discard(self) -> None:
        """Removes what is left of the body; may be called twice."""
        self.finish()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        self._memory.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.discard()


@dataclass(frozen=True)
class Request:
    """A request as it came. Header names are lower case, values of repeated headers joined by a comma."""

    method: str
    scheme: str  # "http" or "https"
    authority: str  # the Host header as sent: signatures cover it
    raw_path: str  # percent-encoded as sent
    raw_query: str
    headers: Mapping[str, str]
    body: Body
    source_ip: str = "127.0.0.1"
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()).upper())

    @property
    def host(self) -> str:
        """The host name in lower case, without the port."""
        return split_authority(self.authority)[0]

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path)

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query; names without a value have an empty one."""
        return parse_qsl(self.raw_query, keep_blank_values=True)

    @cached_property
    def form(self) -> list[tuple[str, str]]:
        """The decoded form of the body; empty for other content types."""
        if not self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return []
        try:
            return parse_qsl(self.body.read(8 << 20).decode("ascii"), keep_blank_values=True)
        except UnicodeDecodeError as error:
            raise ApiError(400, "InvalidParameter", "The form of the request body isn't percent-encoded.") from error


@dataclass(frozen=True)
class FileSlice:
    """Part of an open file, sent as a response's body and closed afterwards."""

    file: BinaryIO
    offset: int
    length: int


@dataclass
class Response:
    """An answer. `Content-Length` is added by the server unless it is set (answers to HEAD)."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | FileSlice = b""

    def close(self) -> None:
        """Closes the file behind the body."""
        if isinstance(self.body, FileSlice):
            self.body.file.close()


class WireService(Service):
    """A service that isn't made of JSON operations (OSS): it verifies, authorises and answers requests itself."""

    @abstractmethod
    def describe(self, request: Request) -> str:
        """The name of the operation that a request asks for, for the log and for faults; "" when there is none."""

    @abstractmethod
    def respond(self, request: Request) -> Response:
        """Answers one request.

        Raises:
            ApiError: in every refused case; rendered by `refuse`.
        """

    @abstractmethod
    def refuse(self, request: Request, error: ApiError) -> Response:
        """Renders an error in this service's form."""

    def handle(self, call: Call) -> Reply:
        """Refuses: there are no JSON operations."""
        raise ApiError(404, "InvalidAction.NotFound", f"{self.name} has no operation over {call.method} {call.path}.")


def split_authority(authority: str) -> tuple[str, int | None]:
    """Host in lower case, and port, of ``host``, ``host:port`` or ``[v6]:port``."""
    text = authority.strip().lower()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest[1:].isdigit() else None
    host, _, port = text.partition(":")
    return host, int(port) if port.isdigit() else None
