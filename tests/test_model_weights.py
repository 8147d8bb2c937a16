"""Weights of text models that are missing, quantised or of no use, with both libraries."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from selip_core.model_weights import require_trained_values
from selip_core.similarity.embeddings import load_encoder
from selip_core.text import TextEncoder

QUERY = "encoder.layer.0.attention.self.query.weight"
NORM = "encoder.layer.0.output.LayerNorm.weight"
WORDS = "embeddings.word_embeddings.weight"


@pytest.fixture(scope="session")
def trained(tmp_path_factory, write_bert):
    """A BERT of random weights with its tokenizer, which both libraries load."""
    return write_bert(tmp_path_factory.mktemp("bert"))


def load_text_encoder(folder):
    return TextEncoder(folder, embed_dim=4)


def with_weights(folder, target, change):
    copy = shutil.copytree(folder, target)
    weights = change(load_file(copy / "model.safetensors"))
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return copy


def replaced(name, change):
    return lambda weights: weights | {name: change(weights[name])}


def renamed(old, new):
    return lambda weights: {name.replace(old, new): value for name, value in weights.items()}


def prefixed(prefix):
    return lambda weights: {prefix + name: value for name, value in weights.items()}


REFUSED = {
    "names of DistributedDataParallel": (prefixed("module."), r"lack \d+ tensors"),
    "names of torch.compile": (renamed("layer.0.", "layer.0._orig_mod."), r"lack \d+ tensors"),
    "one missing": (lambda w: {n: v for n, v in w.items() if n != QUERY}, f"lack 1 .*{QUERY}"),
    "another shape": (replaced(QUERY, lambda w: w[:4].clone()), "other shapes than its config"),
    "NaN": (replaced(QUERY, lambda w: w * torch.nan), f"NaN or infinite: .*{QUERY}"),
    "a layer of zeros": (replaced(QUERY, torch.zeros_like), f"all zero.*{QUERY}"),
    "no words": (replaced(WORDS, torch.zeros_like), "all zero.*the embeddings of words"),
    "a norm of zeros": (replaced(NORM, torch.zeros_like), f"the same for every .*{NORM}"),
    "int8": (replaced(QUERY, lambda w: (w * 100).to(torch.int8)), rf"{QUERY} \(I8\)"),
    "bool": (replaced(QUERY, lambda w: w > 0), rf"{QUERY} \(BOOL\)"),
    "float8": (replaced(QUERY, lambda w: w.to(torch.float8_e4m3fn)), rf"{QUERY} \(F8_E4M3\)"),
    "whole numbers": (replaced(QUERY, lambda w: (w * 1000).round()), f"whole numbers.*{QUERY}"),
}


@pytest.mark.parametrize("load", [load_encoder, load_text_encoder])
@pytest.mark.parametrize(("change", "cause"), REFUSED.values(), ids=REFUSED)
def test_weights_of_no_use_are_refused(trained, tmp_path, load, change, cause):
    folder = with_weights(trained, tmp_path / "model", change)
    with pytest.raises(ValueError, match=cause):
        load(folder)


ACCEPTED = {
    "as they are": lambda weights: weights,
    "under the name of BERT": prefixed("bert."),
    "older names of norms": renamed("LayerNorm.weight", "LayerNorm.gamma"),
    "half precision": lambda weights: {name: value.half() for name, value in weights.items()},
    "no pooler": lambda weights: {n: v for n, v in weights.items() if "pooler" not in n},
    "no types of tokens": replaced("embeddings.token_type_embeddings.weight", torch.zeros_like),
    "an empty word": replaced(
        WORDS, lambda table: table.clone().index_fill_(0, torch.tensor(4), 0)
    ),
    "no biases": lambda weights: {
        name: torch.zeros_like(value) if name.endswith("bias") else value
        for name, value in weights.items()
    },
}


@pytest.mark.parametrize("load", [load_encoder, load_text_encoder])
@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED)
def test_weights_of_a_trained_network_are_loaded(trained, tmp_path, load, change):
    folder = with_weights(trained, tmp_path / "model", change)
    query = load_file(folder / "model.safetensors")
    query = next(value for name, value in query.items() if name.endswith(QUERY))
    loaded = dict(load(folder).named_parameters())
    actual = next(value for name, value in loaded.items() if name.endswith(QUERY))
    assert torch.equal(actual, query.float())


def test_a_norm_of_zeros_may_switch_off_a_residual_branch():
    transformers = pytest.importorskip("transformers")
    shape = {"vocab_size": 7, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8}
    model = transformers.GPT2Model(transformers.GPT2Config(**shape))
    torch.nn.init.zeros_(model.h[0].ln_1.weight)
    require_trained_values("model", model)
    torch.nn.init.zeros_(model.ln_f.weight)
    with pytest.raises(ValueError, match=r"same for every input: h.0.ln_1.weight, ln_f.weight"):
        require_trained_values("model", model)
