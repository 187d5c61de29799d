"""A base model that trains in a second, and the shared real data where it is there."""

import os
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from transformers.utils import logging

from model.embedding.base import BaseModel, find_base
from model.embedding.encoder import Encoder, EncoderConfig
from model.sample import Sample

# Tests share a machine: more threads than cores only wait for each other.
torch.set_num_threads(1)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers doesn't type it


@pytest.fixture(scope="session")
def sample() -> Sample:
    return Sample()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> BaseModel:
    """A BERT of two narrow layers with random weights, whose words are those of the sample."""
    texts = [f"{document.title} {document.text}" for document in sample.documents()]
    texts += [query.text for query in sample.queries()]
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers doesn't type it
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    folder = tmp_path_factory.mktemp("tiny")
    Encoder(BertModel(config), wrapped, EncoderConfig(max_length=64)).save(folder, "# tiny\n")
    return find_base(str(folder))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets that isn't part of the project."""
    root = Path(__file__).parents[2]
    folder = Path(os.environ.get("RAGREC_SHARED_DATA", root.parent / "shared" / "data"))
    if not (folder / "quantum" / "Posts.xml").is_file():
        pytest.skip(f"no real data: {folder}/quantum isn't there (set RAGREC_SHARED_DATA)")
    return folder
