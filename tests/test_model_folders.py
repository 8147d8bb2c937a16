"""Folders of text models with code: nothing of them is run, with any release of the libraries."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file

from selip_core import Report
from selip_core.model_folders import kind_of, require_no_code, require_plain_sentence_model
from selip_core.similarity import SemanticSimilarity
from selip_core.similarity.embeddings import load_encoder
from selip_core.text import TextEncoder

ST = "sentence_transformers.models"


@pytest.fixture(scope="session")
def model(tmp_path_factory, write_bert):
    """A sentence model of random weights: a BERT, the mean over its tokens, a dense layer."""
    folder = write_bert(tmp_path_factory.mktemp("sentence_model"))
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{ST}.{kind}"}
        for i, (kind, path) in enumerate(paths.items())
    ]
    write(folder, "modules.json", modules)
    write(folder, "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": False})
    write(folder, "1_Pooling/config.json", {"word_embedding_dimension": 8, "pooling_mode": "mean"})
    dense = {"in_features": 8, "out_features": 4, "bias": True}
    dense["activation_function"] = "torch.nn.modules.activation.Tanh"
    write(folder, "2_Dense/config.json", dense)
    weights = {"linear.weight": torch.randn(4, 8), "linear.bias": torch.zeros(4)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    return folder


def write(folder, name, content):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def changed(folder, name, **values):
    write(folder, name, json.loads((folder / name).read_text()) | values)


def with_module(folder, index, **values):
    modules = json.loads((folder / "modules.json").read_text())
    modules[index] |= values
    write(folder, "modules.json", modules)


@pytest.fixture
def hostile(model, tmp_path, monkeypatch):
    """A copy of the model with code that leaves a file behind, and that file's path."""
    folder, canary = shutil.copytree(model, tmp_path / "model"), tmp_path / "canary"
    code = f"""
from pathlib import Path
Path({str(canary)!r}).touch()
from sentence_transformers.models import Transformer, Pooling, Dense
class Config: pass
class Tanh: pass
"""
    (folder / "canary_code.py").write_text(code)
    monkeypatch.syspath_prepend(folder)  # as where the folder is the current one
    yield folder, canary
    sys.modules.pop("canary_code", None)


def embeds(folder):
    return SemanticSimilarity(folder).fit([Report(id="a", text="pons")])


def test_a_plain_model_is_loaded(model):
    require_plain_sentence_model(model)
    assert load_encoder(model).encode(["pons"]).shape == (1, 4)


FIRST = "canary_code.Transformer"
HOSTILE = {
    "a first module": lambda f: with_module(f, 0, type=FIRST),
    "a pooling": lambda f: with_module(f, 1, type="canary_code.Pooling"),
    "code of another model": lambda f: with_module(f, 0, type="owner/model--canary_code.Any"),
    "a function of the library": lambda f: with_module(f, 0, type="sentence_transformers.util.os"),
    "a module in the package": lambda f: with_module(f, 0, type=f"{ST}.Dense.torch"),
    "a name that begins as the package": lambda f: with_module(f, 0, type=f"{ST}_own.Transformer"),
    "an activation": lambda f: changed(
        f, "2_Dense/config.json", activation_function="canary_code.Tanh"
    ),
    "an activation of torch that is none": lambda f: changed(
        f, "2_Dense/config.json", activation_function="torch.hub.os"
    ),
    "a configuration": lambda f: changed(
        f, "config.json", auto_map={"AutoConfig": "canary_code.Config"}
    ),
    "an unknown configuration": lambda f: changed(
        f, "config.json", model_type="own", auto_map={"AutoConfig": "canary_code.Config"}
    ),
    "a tokenizer": lambda f: changed(
        f, "tokenizer_config.json", auto_map={"AutoTokenizer": ["canary_code.Config", None]}
    ),
    "a configuration of another version": lambda f: (
        changed(f, "config.json", configuration_files=["config.4.0.0.json"]),
        write(f, "config.4.0.0.json", {"auto_map": {"AutoConfig": "canary_code.Config"}}),
    ),
    "a route": lambda f: (
        with_module(f, 0, type=f"{ST}.Router", path="routes"),
        write(f, "routes/router_config.json", {"types": {"query": FIRST}, "structure": {}}),
    ),
    "a route within a route": lambda f: (
        with_module(f, 0, type=f"{ST}.Router", path="routes"),
        write(f, "routes/router_config.json", {"types": {"query": f"{ST}.Router"}}),
        write(f, "routes/query/config.json", {"types": {"inner": FIRST}}),
    ),
    "a tokenizer of words": lambda f: (
        with_module(f, 0, type=f"{ST}.WordEmbeddings", path="words"),
        write(f, "words/wordembedding_config.json", {"tokenizer_class": FIRST}),
    ),
}
CAUSE = r"(?s)brings (its own )?code|names the class .* imported and run"


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_code_in_a_folder_is_refused_and_not_run(hostile, change):
    folder, canary = hostile
    change(folder)
    for load in (require_no_code, load_encoder, TextEncoder, embeds):
        with pytest.raises(ValueError, match=CAUSE):
            load(folder)
    assert not canary.exists()


ELSEWHERE = {
    "a module outside": (
        lambda f: with_module(f, 1, path="../elsewhere"),
        "names a module outside the model's folder",
    ),
    "a module at the root": (
        lambda f: with_module(f, 1, path="/tmp"),
        "names a module outside the model's folder",
    ),
    "a tokenizer elsewhere": (
        lambda f: changed(f, "sentence_bert_config.json", tokenizer_name_or_path="owner/model"),
        r"sentence_bert_config.json of the sentence encoder sets tokenizer_name_or_path, by which",
    ),
    "arguments": (
        lambda f: changed(f, "sentence_bert_config.json", model_args={"gguf_file": "a.gguf"}),
        "sets gguf_file, by which its weights, tokenizer or code can come from elsewhere",
    ),
    "kernels of the hub": (
        lambda f: changed(f, "config.json", attn_implementation="owner/kernel"),
        "config.json of the sentence encoder sets attn_implementation",
    ),
    "an adapter": (
        lambda f: write(f, "adapter_config.json", {"base_model_name_or_path": "owner/model"}),
        r"adapter_config.json makes the sentence encoder an adapter .*merge_and_unload",
    ),
    "a pickle": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "^pytorch_model.bin of the sentence encoder is a pickle, which can run code",
    ),
    "a pickle of a module": (
        lambda f: (f / "2_Dense/model.safetensors").rename(f / "2_Dense/pytorch_model.bin"),
        "^2_Dense/pytorch_model.bin of the sentence encoder is a pickle",
    ),
    "a pickle with another file next to it": (
        lambda f: (
            (f / "2_Dense/model.safetensors").rename(f / "2_Dense/pytorch_model.bin"),
            (f / "2_Dense/other.safetensors").touch(),
        ),
        "^2_Dense/pytorch_model.bin of the sentence encoder is a pickle",
    ),
    "a router without routes": (
        lambda f: with_module(f, 0, type=f"{ST}.Router", path="routes"),
        "routes/router_config.json of the model must name the modules of its Router under 'types'",
    ),
    "no JSON": (
        lambda f: (f / "modules.json").write_text("["),
        "modules.json of the model is damaged: it is not JSON",
    ),
}


@pytest.mark.parametrize(("change", "cause"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_read_from_elsewhere_is_refused(hostile, change, cause):
    folder, canary = hostile
    change(folder)
    with pytest.raises(ValueError, match=cause):
        load_encoder(folder)
    assert not canary.exists()


def test_pickles_that_are_not_read_are_no_obstacle(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "openvino").mkdir()
    for name in ("openvino/openvino_model.bin", "training_args.bin", "pytorch_model.bin"):
        (folder / name).write_bytes(b"no pickle")
    assert load_encoder(folder).encode(["pons"]).shape == (1, 4)


@pytest.mark.parametrize(
    "name",
    [
        "sentence_transformers.models.Transformer",
        "sentence_transformers.models.Transformer.Transformer",
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.transformer.Transformer",
    ],
)
def test_every_release_has_its_own_names(name):
    assert kind_of(name) == "Transformer"


def test_an_encoder_is_compared_before_it_is_loaded(hostile):
    folder, canary = hostile
    similarity = embeds(folder)
    with_module(folder, 0, type=FIRST)
    with pytest.raises(ValueError, match="the encoder is not the one that embedded"):
        similarity.extend([Report(id="b", text="insula")])
    assert not canary.exists()
