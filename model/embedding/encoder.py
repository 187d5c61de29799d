"""Text to vectors: the one implementation of truncation, pooling and normalisation, in training and in serving.

The file goes into `custom_emb.mar` as it is, so it imports nothing else of this project.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

Pooling: TypeAlias = Literal["mean", "cls"]
TextKind: TypeAlias = Literal["query", "document"]
Vectors: TypeAlias = npt.NDArray[np.float32]
MODULES = "modules.json"


class ModelError(ValueError):
    """A model folder can't be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """What a model folder says about the way from tokens to a vector, in the layout of sentence-transformers.

    Attributes:
        pooling: How token vectors become one.
        max_length: Longest text in tokens; longer ones are cut.
        prompts: Text put before a text of the kind ("query: " for E5 models).
    """

    pooling: Pooling = "mean"
    max_length: int = 512
    prompts: dict[str, str] | None = None

    def prompt(self, kind: TextKind) -> str:
        """What to put before a text of the kind."""
        return (self.prompts or {}).get(kind, "")


class Encoder:
    """A Hugging Face encoder with tokenizer and pooling.

    Attributes:
        model: The transformer; its output has `last_hidden_state`.
        tokenizer: A tokenizer of transformers.
        config: Pooling, length and prompts.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, config: EncoderConfig) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config

    @classmethod
    def load(cls, path: str | Path, max_length: int | None = None, device: str | None = None) -> "Encoder":
        """Loads a Hugging Face folder; pooling comes from the folder, else it is the mean.

        Args:
            path: A folder with config.json, tokenizer files and model.safetensors.
            max_length: Lowers the folder's limit of tokens.
            device: Where to; default: CUDA where there is a GPU, else the CPU.

        Raises:
            ModelError: The folder isn't there or isn't a model that can be loaded.
        """
        # Everything is on disk: a model hub must never be asked, not even for a newer tokenizer.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        # Bars that redraw themselves fill the job's log.
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers doesn't type it
        folder = Path(path)
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder}: is no Hugging Face model folder (there is no config.json)")
        config = _read_config(folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{folder}: can't be loaded: {error}") from error
        positions = getattr(model.config, "max_position_embeddings", None) or config.max_length
        limit = min(config.max_length, int(positions), max_length or config.max_length)
        model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(model, tokenizer, EncoderConfig(config.pooling, limit, config.prompts))

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        config: Any = self.model.config
        return int(config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def encode(self, texts: Sequence[str], batch_size: int = 32, kind: TextKind = "document") -> Vectors:
        """Encodes texts.

        Texts are sorted by length first, so that a batch holds little padding; the answer is in the order given.

        Args:
            texts: What to encode; an empty text has the vector of an empty text.
            batch_size: Texts at a time.
            kind: Decides the prompt.

        Returns:
            Vectors of length 1, shape [texts, dimension].
        """
        tokens = self.tokenize(texts, kind)
        order = sorted(range(len(tokens)), key=lambda index: -len(tokens[index]))
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                found = self.forward([tokens[index] for index in chosen])
                vectors[chosen] = found.float().cpu().numpy()
        return vectors

    def tokenize(self, texts: Sequence[str], kind: TextKind = "document") -> list[list[int]]:
        """Token ids of each text with prompt and special tokens, cut at `max_length`."""
        if not texts:
            return []
        prompt = self.config.prompt(kind)
        encoded = self.tokenizer(
            [prompt + text for text in texts], truncation=True, max_length=self.config.max_length, padding=False
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def forward(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Vectors of length 1 for token ids, shape [texts, dimension]; keeps gradients."""
        longest = max(len(ids) for ids in tokens)
        padding = self.tokenizer.pad_token_id or 0
        ids = torch.full((len(tokens), longest), padding, dtype=torch.long)
        mask = torch.zeros((len(tokens), longest), dtype=torch.long)
        for row, sequence in enumerate(tokens):
            ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
            mask[row, : len(sequence)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return nn.functional.normalize(pool(hidden.float(), mask, self.config.pooling), dim=-1)

    def save(self, path: str | Path, card: str) -> None:
        """Writes the folder that `load` and sentence-transformers read.

        Args:
            path: A folder; created when it isn't there.
            card: Text of the model card (README.md).

        Raises:
            OSError: The folder can't be written.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.model.save_pretrained(folder)  # type: ignore[operator]  # PreTrainedModel has it, nn.Module doesn't
        except SafetensorError as error:
            raise OSError(f"{folder}: {error}") from error
        self.tokenizer.save_pretrained(folder)
        modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        _write_json(
            folder / MODULES,
            [
                {"idx": index, "name": str(index), "path": name, "type": f"sentence_transformers.models.{kind}"}
                for index, (name, kind) in enumerate(modules)
            ],
        )
        _write_json(
            folder / "sentence_bert_config.json", {"max_seq_length": self.config.max_length, "do_lower_case": False}
        )
        _write_json(
            folder / "config_sentence_transformers.json",
            {"prompts": self.config.prompts or {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
        )
        shutil.rmtree(folder / "1_Pooling", ignore_errors=True)
        (folder / "1_Pooling").mkdir()
        (folder / "2_Normalize").mkdir(exist_ok=True)
        _write_json(
            folder / "1_Pooling" / "config.json",
            {
                "word_embedding_dimension": self.dimension,
                "pooling_mode_cls_token": self.config.pooling == "cls",
                "pooling_mode_mean_tokens": self.config.pooling == "mean",
            },
        )
        (folder / "README.md").write_text(card, encoding="utf-8")


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector for each text.

    Args:
        hidden: Token vectors, shape [texts, tokens, dimension].
        mask: 1 for tokens, 0 for padding, shape [texts, tokens].
        pooling: The mean of the tokens, or the first.
    """
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _read_config(folder: Path) -> EncoderConfig:
    pooling = _read_json(folder / "1_Pooling" / "config.json")
    modes = {key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True}
    if not modes <= {"pooling_mode_mean_tokens", "pooling_mode_cls_token"} or len(modes) > 1:
        raise ModelError(
            f"{folder}/1_Pooling/config.json: only mean or cls pooling is supported, not {sorted(modes)}"
        )
    length = _read_json(folder / "sentence_bert_config.json").get("max_seq_length") or 512
    prompts = _read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    return EncoderConfig("cls" if "pooling_mode_cls_token" in modes else "mean", int(length), dict(prompts))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: expected a JSON object")
    return found


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
