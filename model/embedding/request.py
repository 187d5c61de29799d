"""The body of a prediction request. In a module of its own, since TorchServe allows a handler's file one class."""

import json
import os
from collections.abc import Mapping
from typing import Any

from model.embedding.encoder import TextKind

MAX_TEXTS = int(os.environ.get("RAGREC_MAX_TEXTS", "256"))
"""Texts of one request."""
MAX_CHARACTERS = int(os.environ.get("RAGREC_MAX_CHARACTERS", "50000"))
"""Characters of one text."""


class BadRequestError(ValueError):
    """A request that can't be answered; the message is for its sender."""


def read_request(request: Mapping[str, Any]) -> tuple[list[str], TextKind]:
    """Reads one request of a batch.

    Args:
        request: As TorchServe passes it: the body is an object when it was sent as JSON, else bytes.

    Returns:
        Its texts and what they are.

    Raises:
        BadRequestError: Not the form above, or over a limit.
    """
    body = request.get("body", request.get("data"))
    if isinstance(body, bytes | bytearray | str):
        try:
            body = json.loads(body)
        except ValueError:
            raise BadRequestError("the body is not JSON") from None
    if not isinstance(body, dict) or "input" not in body:
        raise BadRequestError('expected {"input": ["text", ...]}')
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequestError("'input' must be a string or an array of strings")
    if not texts:
        raise BadRequestError("'input' is empty")
    if len(texts) > MAX_TEXTS:
        raise BadRequestError(f"'input' has {len(texts)} texts, at most {MAX_TEXTS} are answered at once")
    for number, text in enumerate(texts):
        if not text.strip():
            raise BadRequestError(f"'input' {number} is empty")
        if len(text) > MAX_CHARACTERS:
            raise BadRequestError(f"'input' {number} has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    kind = body.get("kind", "document")
    if kind not in {"query", "document"}:
        raise BadRequestError("'kind' must be query or document")
    return texts, kind
