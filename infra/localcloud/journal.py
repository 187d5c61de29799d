"""The local cloud's log: one JSON object a line, an entry a call, secrets never among them."""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.localcloud.wire import Response

LOG = logging.getLogger("infra.localcloud")
LARGEST = 8 << 20  # bytes of a log file, of which three are kept
REDACTED = "[redacted]"

# Names of parameters, headers and fields whose values are secrets or signatures.
_SENSITIVE = re.compile(
    r"""(?ix)(secret | password | security-?token | signature | authorization)
        (["']?\s*[=:]\s*["']?) ([^\s"'&,;]{4,})"""
)


@dataclass
class Entry:
    """What the log says about one call. No parameters: they may hold user data."""

    request_id: str
    method: str
    host: str
    service: str = ""
    operation: str = ""
    access_key_id: str = ""
    status: int = 0  # 0: the connection was closed without an answer
    code: str = ""

    def answered(self, response: Response, code: str = "") -> Response:
        """Notes how the call ended and hands the response on."""
        self.status, self.code = response.status, code
        return response


def write(entry: Entry, seconds: float) -> None:
    """Logs a call: refused ones as warnings, defects as errors."""
    level = logging.INFO if 0 < entry.status < 400 else logging.ERROR if entry.status >= 500 else logging.WARNING
    fields = {k: v for k, v in asdict(entry).items() if v not in ("", 0)}
    LOG.log(level, "%s %s", entry.service, entry.operation, extra={"fields": fields | {"seconds": round(seconds, 4)}})


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """`text` without the given secrets and without the values of fields that are secret by name."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return _SENSITIVE.sub(rf"\1\2{REDACTED}", text)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, redacted."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        super().__init__()
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": redact(record.getMessage(), self._secrets),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info), self._secrets)
        return json.dumps(line, ensure_ascii=False)


def open_log(path: Path, secrets: Collection[str]) -> logging.Handler:
    """Sends the log to a rotating file that only the owner can read; returns the handler, for closing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LARGEST, backupCount=2, encoding="utf-8")
    handler.setFormatter(JsonFormatter(secrets))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    return handler
