"""A small dual encoder of the library's parts."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

from selip_core.dual_encoder import DualEncoder
from selip_core.encoders import create_image_encoder
from selip_core.text import TextEncoder

WORDS = ["no", "lesion", "in", "the", "pons", "."]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """Return the folder of a random BERT of two narrow layers."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    vocabulary = {word: index for index, word in enumerate(words)}
    transformers.BertTokenizerFast(vocab=vocabulary, model_max_length=32).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def make_dual(tiny_bert):
    """Make a dual encoder; another image encoder and settings may be given."""

    def make(image_encoder=None, **settings):
        torch.manual_seed(0)
        if image_encoder is None:
            image_encoder = create_image_encoder(
                "resnet10", embed_dim=8, stem="cubic", width=1 / 16
            )
        text_encoder = TextEncoder(tiny_bert, embed_dim=image_encoder.embed_dim)
        return DualEncoder(image_encoder, text_encoder, **settings).eval()

    return make
