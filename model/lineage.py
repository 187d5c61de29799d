"""Digests that name an artifact: what it was made of."""

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
_SOURCES = ("model/**/*.py", "serving/torchserve/handler.py")


def code_digest() -> str:
    """SHA-256 over the sources that decide what a training run makes."""
    hashed = hashlib.sha256()
    for path in sorted(path for pattern in _SOURCES for path in ROOT.glob(pattern)):
        content = path.read_bytes()
        hashed.update(f"{path.relative_to(ROOT).as_posix()} {len(content)}\n".encode())
        hashed.update(content)
    return hashed.hexdigest()


def training_digest(data: str, parameters: str, base: str, code: str) -> str:
    """The digest of a training run (64 hex digits); equal digests are never trained twice.

    Args:
        data: `DataSet.digest`.
        parameters: `TrainingParameters.canonical()`.
        base: SHA-256 of the base model's weights.
        code: `code_digest()`.
    """
    content = {"data": data, "parameters": json.loads(parameters), "base": base, "code": code}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
