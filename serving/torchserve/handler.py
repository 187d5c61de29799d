"""TorchServe handler of `custom_emb.mar`: texts in, vectors out, many requests in one pass.

Request: `{"input": "text"}` or `{"input": ["text", ...]}`, optionally `"kind": "query"`. Answer:
`{"embeddings": [[...], ...], "version": "<12 hex digits>"}`. A bad request of a batch is answered with 400 and
`{"error": "..."}`; the others aren't touched by it.
"""

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import torch
from ts.torch_handler.base_handler import BaseHandler

# The archive holds this module at the same path as the repository does.
from model.embedding.encoder import Encoder, TextKind

MAX_TEXTS = int(os.environ.get("RAGREC_MAX_TEXTS", "256"))
MAX_CHARACTERS = int(os.environ.get("RAGREC_MAX_CHARACTERS", "50000"))
"""Limits of one request: texts, and characters of each."""
BATCH_SIZE = 32
WEIGHTS = "custom_emb"

Inputs: TypeAlias = tuple[list[str], TextKind]


class BadRequestError(ValueError):
    """A request that can't be answered; the message is for its sender."""


class EmbeddingHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no types
    """Loads the encoder of the archive and answers batches of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder: Encoder | None = None
        self.version = ""

    def initialize(self, context: Any) -> None:
        """Loads the model; called once by each worker."""
        properties = context.system_properties
        folder = Path(properties["model_dir"])
        gpu = properties.get("gpu_id")
        device = f"cuda:{gpu}" if torch.cuda.is_available() and gpu is not None else "cpu"
        if device == "cpu":
            # Workers are the parallelism: with more threads than cores they only wait for each other.
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self.encoder = Encoder.load(folder / WEIGHTS, device=device)
        self.version = (folder / "version.txt").read_text(encoding="utf-8").strip()
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answers a batch: one compact JSON string for each request."""
        assert self.encoder is not None, "initialize was not called"
        answers: list[str] = [""] * len(data)
        good: list[tuple[int, Inputs]] = []
        for index, request in enumerate(data):
            try:
                good.append((index, read_request(request)))
            except BadRequestError as error:
                context.set_response_status(code=400, phrase="Bad Request", idx=index)
                answers[index] = json.dumps({"error": str(error)})
        vectors: dict[int, list[list[float]]] = {index: [] for index, _ in good}
        for kind in ("query", "document"):
            chosen = [(index, text) for index, (texts, asked) in good if asked == kind for text in texts]
            found = self.encoder.encode([text for _, text in chosen], BATCH_SIZE, kind)
            for (index, _), vector in zip(chosen, found, strict=True):
                vectors[index].append([round(value, 7) for value in vector.tolist()])
        for index, embeddings in vectors.items():
            answers[index] = json.dumps({"embeddings": embeddings, "version": self.version}, separators=(",", ":"))
        return answers


def read_request(request: dict[str, Any]) -> Inputs:
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
