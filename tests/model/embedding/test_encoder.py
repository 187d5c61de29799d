import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from model.embedding.base import DEFAULT_BASE, BaseModel, find_base
from model.embedding.encoder import Encoder, EncoderConfig, ModelError, pool

TEXTS = ["The brindel collar showed morling.", "vask", "", "Remedy for sidle at the kneed, " * 9]


def test_vectors_have_length_one_and_the_order_of_the_texts(tiny_base: BaseModel) -> None:
    encoder = Encoder.load(tiny_base.path)
    vectors = encoder.encode(TEXTS, batch_size=2)
    assert vectors.shape == (4, 64)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode([text])[0], vectors[row], atol=1e-5)


def test_no_texts_no_vectors(tiny_base: BaseModel) -> None:
    assert Encoder.load(tiny_base.path).encode([]).shape == (0, 64)


def test_saved_and_loaded_is_the_same(tiny_base: BaseModel, tmp_path: Path) -> None:
    encoder = Encoder.load(tiny_base.path)
    encoder.save(tmp_path, "# card\n")
    np.testing.assert_allclose(Encoder.load(tmp_path).encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)
    assert (tmp_path / "README.md").read_text() == "# card\n"


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_sentence_transformers_reads_what_is_saved(tiny_base: BaseModel, tmp_path: Path, pooling: str) -> None:
    loaded = Encoder.load(tiny_base.path)
    encoder = Encoder(loaded.model, loaded.tokenizer, EncoderConfig("cls" if pooling == "cls" else "mean", 64))
    encoder.save(tmp_path, "# card\n")
    theirs = SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(theirs, encoder.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(theirs, Encoder.load(tmp_path).encode(TEXTS), atol=1e-5)


def test_the_pinned_base_model_is_that_of_sentence_transformers() -> None:
    base = find_base(DEFAULT_BASE)
    theirs = SentenceTransformer(str(base.path), device="cpu").encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(theirs, Encoder.load(base.path).encode(TEXTS), atol=1e-5)


def test_prompts_and_lengths_come_from_the_folder(tiny_base: BaseModel, tmp_path: Path) -> None:
    shutil.copytree(tiny_base.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "vask "}}))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 5}))
    encoder = Encoder.load(tmp_path)
    assert encoder.tokenize(["kneed"], "query") == encoder.tokenize(["vask kneed"])
    assert len(encoder.tokenize(["vask " * 50])[0]) == 5
    assert Encoder.load(tmp_path, max_length=4).config.max_length == 4


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no config\.json"):
        Encoder.load(tmp_path)


def test_unknown_pooling_is_refused(tiny_base: BaseModel, tmp_path: Path) -> None:
    shutil.copytree(tiny_base.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ModelError, match="only mean or cls pooling"):
        Encoder.load(tmp_path)


def test_padding_doesn_t_count() -> None:
    hidden = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert pool(hidden, torch.tensor([[1, 1, 0]]), "mean").tolist() == [[2.0]]
    assert pool(hidden, torch.tensor([[1, 1, 0]]), "cls").tolist() == [[1.0]]
