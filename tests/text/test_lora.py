"""Adapters train beside the weights of the backbone, and can be merged into them."""

import sys

import pytest
import torch

from selip_core.text import Lora, TextEncoder

TEXTS = ["no lesion .", "acute infarct in the left frontal lobe ."]


def adapted(folder, **settings):
    """An encoder with adapters that have learned something, which they have not at the start."""
    encoder = TextEncoder(folder, embed_dim=4, lora=Lora(**{"rank": 2} | settings)).eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    return encoder


@pytest.fixture(autouse=True)
def _peft():
    pytest.importorskip("peft")


@pytest.mark.filterwarnings("error:fan_in_fan_out")
def test_training_starts_from_the_pretrained_model(make_model, family):
    plain = TextEncoder(make_model(family)).eval()
    encoder = TextEncoder(make_model(family), lora=Lora(rank=2)).eval()
    tokens = plain.tokenize(TEXTS)
    torch.testing.assert_close(encoder.pooled(tokens), plain.pooled(tokens))
    differs = adapted(make_model(family)).pooled(tokens)
    assert (differs - plain.pooled(tokens)).abs().max() > 1e-3


def test_only_adapters_and_projection_train(make_model, family):
    encoder = adapted(make_model(family)).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1.0)
    encoder(TEXTS).square().sum().backward()
    optimizer.step()
    changed = {
        name for name, value in encoder.state_dict().items() if not value.equal(before[name])
    }
    learning = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert changed == learning
    assert {name for name in learning if "lora_" not in name} == {
        "projection.weight",
        "projection.bias",
    }
    assert any("lora_A" in name for name in learning)
    assert any("lora_B" in name for name in learning)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_rank_and_scale_are_as_told(make_model, family):
    encoder = adapted(make_model(family), rank=3, alpha=6.0, dropout=0.25)
    layers = [module for module in encoder.backbone.modules() if hasattr(module, "lora_A")]
    assert len(layers) == (4 if family == "bert" else 2)  # query and value, or all in one
    for layer in layers:
        assert layer.lora_A["default"].out_features == 3
        assert layer.scaling["default"] == 2.0
        assert layer.lora_dropout["default"].p == 0.25


def test_target_modules_may_be_named(make_model):
    by_name = adapted(make_model("bert"), target_modules=("key",))
    names = {name.split(".lora_")[0] for name in by_name.state_dict() if "lora_" in name}
    assert {name.rpartition(".")[2] for name in names} == {"key"}
    everywhere = adapted(make_model("bert"), target_modules="all-linear")
    assert sum("lora_A" in name for name in everywhere.state_dict()) == 2 * 6


def test_state_dict_and_architecture_make_the_encoder_again(make_model, family, tmp_path):
    encoder = adapted(make_model(family))
    encoder.save_architecture(tmp_path)
    other = TextEncoder(tmp_path, embed_dim=4, lora=Lora(rank=2), pretrained=False).eval()
    assert not torch.equal(other(TEXTS), encoder(TEXTS))
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(other(TEXTS), encoder(TEXTS), rtol=0, atol=0)


def test_merged_it_is_a_plain_encoder_with_the_same_features(make_model, family, tmp_path):
    encoder = adapted(make_model(family))
    expected = encoder(TEXTS)
    assert encoder.merge_lora() is encoder
    torch.testing.assert_close(encoder(TEXTS), expected, rtol=1e-4, atol=1e-5)
    assert encoder.lora is None
    assert encoder.frozen
    assert not any(p.requires_grad for p in encoder.backbone.parameters())
    assert not encoder.train().backbone.training
    encoder.save_architecture(tmp_path)
    plain = TextEncoder(tmp_path, embed_dim=4, pretrained=False).eval()
    plain.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(plain(TEXTS), encoder(TEXTS))
    assert not any("lora" in type(module).__module__ for module in encoder.modules())


def test_gradient_checkpointing_reaches_the_adapters(make_model):
    encoder = adapted(make_model("llama")).train()
    gradients = []
    for on in (False, True):
        encoder.gradient_checkpointing = on
        encoder.zero_grad()
        encoder(TEXTS).square().sum().backward()
        gradients.append({n: p.grad for n, p in encoder.named_parameters() if p.requires_grad})
    assert all(gradient is not None for gradient in gradients[1].values())
    torch.testing.assert_close(gradients[1], gradients[0])


def test_frozen_and_adapters_exclude_each_other(make_model):
    with pytest.raises(ValueError, match="lora trains adapters in it: choose one"):
        TextEncoder(make_model("bert"), frozen=True, lora=Lora())


def test_nothing_to_merge(make_model):
    with pytest.raises(ValueError, match="this encoder was made without lora"):
        TextEncoder(make_model("bert")).merge_lora()


def test_says_how_to_name_layers_that_are_not_there(make_model):
    with pytest.raises(ValueError, match=r"this model \(bert\): give its linear layers"):
        adapted(make_model("bert"), target_modules=("query_proj",))


def test_says_what_to_install(make_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r'pip install "selip-core\[lora\]"'):
        adapted(make_model("bert"))
