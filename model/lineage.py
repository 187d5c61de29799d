"""Digests that name an artifact: what it was made of."""

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
_FOLDERS = ("model", "serving/torchserve")


def code_digest() -> str:
    """SHA-256 over the sources that decide what a training run makes."""
    hashed = hashlib.sha256()
    for folder in _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            hashed.update(f"{path.relative_to(ROOT).as_posix()} {len(path.read_bytes())}\n".encode())
            hashed.update(path.read_bytes())
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
