"""Digests: what a training job's artifact and a release are named by."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(**parts: Any) -> str:
    """SHA-256 over named parts in canonical JSON, as hex: equal parts, equal digest."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short(value: str) -> str:
    """The 12 hex digits by which digests appear in names."""
    return value[:12]
