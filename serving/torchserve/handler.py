"""TorchServe handler of `custom_emb.mar`: texts in, vectors out, many requests in one pass.

Request: `{"input": "text"}` or `{"input": ["text", ...]}`, optionally `"kind": "query"`. Answer:
`{"embeddings": [[...], ...], "version": "<12 hex digits>"}`. A bad request of a batch is answered with 400 and
`{"error": "..."}`; the others aren't touched by it.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

# The archive holds these modules at the same paths as the repository does.
from model.embedding.encoder import Encoder, TextKind
from model.embedding.request import BadRequestError, read_request

BATCH_SIZE = 32
WEIGHTS = "custom_emb"


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
        good: list[tuple[int, tuple[list[str], TextKind]]] = []
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
