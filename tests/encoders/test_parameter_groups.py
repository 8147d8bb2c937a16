"""Rates by stage, and weight decay where it belongs."""

import pytest
import torch
from torch import nn

from selip_core.dual_encoder import DualEncoder
from selip_core.encoders import StudyEncoder, parameter_groups


def by_name(groups):
    return {name: group for group in groups for name in group["names"]}


def test_stages_learn_the_slower_the_nearer_to_the_input(create_small):
    encoder = create_small("resnet10")
    groups = by_name(parameter_groups(encoder, 0.8, layer_decay=0.5))
    rates = [
        groups[name]["lr"]
        for name in (
            "network.conv1.weight",
            "network.layer1.0.conv1.weight",
            "network.layer3.0.bn1.bias",
            "network.layer4.0.conv2.weight",
            "pooling.projection.bias",
        )
    ]
    assert rates == [0.025, 0.05, 0.2, 0.4, 0.8]


@pytest.mark.parametrize(
    ("name", "blocks"), [("vit_small", "network.blocks"), ("swin_tiny", "network.layers3.0.blocks")]
)
def test_each_block_of_a_transformer_has_a_rate_of_its_own(create_small, name, blocks):
    encoder = create_small(name)
    groups = by_name(parameter_groups(encoder, 1.0, layer_decay=0.5))
    rates = [
        {groups[f"{blocks}.{index}.{key}"]["lr"] for key, _ in block.named_parameters()}
        for index, block in enumerate(encoder.get_submodule(blocks))
    ]
    first = min(rates[0])
    assert rates == [{first * 2**index} for index in range(len(rates))]


def test_each_trainable_parameter_is_in_one_group(create_small):
    encoder = create_small("vit_small", pooling="cls").freeze(2)
    grouped = [p for group in parameter_groups(encoder, 1e-3, 0.1, 0.7) for p in group["params"]]
    free = [p for p in encoder.parameters() if p.requires_grad]
    assert sorted(map(id, grouped)) == sorted(map(id, free))
    assert len(free) < len(list(encoder.parameters()))


@pytest.mark.parametrize("name", ["resnet10", "vit_small"])
def test_kernels_decay_and_nothing_else(create_small, name):
    encoder = create_small(name, pooling="attention")
    owners = dict(encoder.named_modules())
    for name, group in by_name(parameter_groups(encoder, 1e-3, weight_decay=0.1)).items():
        owner, _, own_name = name.rpartition(".")
        kernel = isinstance(owners[owner], nn.Linear | nn.Conv3d) and own_name == "weight"
        decays = kernel and owner != "pooling.position"
        assert group["weight_decay"] == (0.1 if decays else 0.0), name


def test_the_rest_of_a_model_learns_at_the_full_rate(create_small):
    model = DualEncoder(create_small("resnet10"), nn.Linear(3, 6))
    groups = by_name(parameter_groups(model, 1.0, weight_decay=0.1, layer_decay=0.1))
    assert groups["text_encoder.weight"]["lr"] == 1.0
    assert groups["image_encoder.network.conv1.weight"]["lr"] == pytest.approx(1e-5)
    assert groups["log_logit_scale"]["weight_decay"] == 0.0


def test_embeddings_do_not_decay(create_small):
    study = StudyEncoder(create_small("resnet10"), sequences=("T1", "FLAIR"), heads=1)
    model = DualEncoder(study, nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6)))
    groups = by_name(parameter_groups(model, 1e-3, weight_decay=0.1))
    tokens = [name for name in groups if "token" in name or "kind" in name]
    assert len(tokens) >= 2
    for name in (*tokens, "text_encoder.0.weight"):
        assert groups[name]["weight_decay"] == 0.0, name
    assert groups["text_encoder.1.weight"]["weight_decay"] == 0.1


def test_an_optimiser_takes_them(create_small):
    encoder = create_small("resnet10")
    before = {key: value.clone() for key, value in encoder.named_parameters()}
    optimizer = torch.optim.AdamW(parameter_groups(encoder, 0.1, layer_decay=0.5))
    encoder(torch.randn(2, 1, 9, 33, 33)).square().sum().backward()
    optimizer.step()
    steps = {
        key: (value - before[key]).abs().max().item() for key, value in encoder.named_parameters()
    }
    # The first step of Adam is as long as the rate.
    assert steps["network.conv1.weight"] == pytest.approx(0.1 * 0.5**5, rel=0.01)
    assert steps["pooling.projection.weight"] == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_nothing_learns_at_is_refused(create_small, rate):
    with pytest.raises(ValueError, match="learning_rate must be above 0 and finite, got"):
        parameter_groups(create_small("resnet10"), rate)


@pytest.mark.parametrize("decay", [-0.1, float("nan"), float("inf")])
def test_a_decay_that_is_none_is_refused(create_small, decay):
    with pytest.raises(ValueError, match="weight_decay must be at least 0 and finite, got"):
        parameter_groups(create_small("resnet10"), 1e-3, weight_decay=decay)


@pytest.mark.parametrize("layer_decay", [0.0, -1.0, 1.5, float("nan")])
def test_decay_out_of_range_is_refused(create_small, layer_decay):
    with pytest.raises(ValueError, match="layer_decay must be above 0 and at most 1, got"):
        parameter_groups(create_small("resnet10"), 1e-3, layer_decay=layer_decay)


def test_a_model_that_is_frozen_is_told():
    with pytest.raises(ValueError, match="no parameter is trainable"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), 1e-3)
