from itertools import pairwise

import pytest
import torch
from torch import nn

from selip_core.encoders import create_image_encoder
from selip_core.recipes.config import OptimizerConfig
from selip_core.recipes.schedule import learning_rate_factor, parameter_groups


def test_rates_rise_then_fall_to_almost_nothing():
    factors = [learning_rate_factor(step, 100, 0.1, 0.9) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert factors[10] == 1
    assert all(later < earlier for earlier, later in pairwise(factors[10:]))
    assert factors[55] == pytest.approx(0.5**0.9)
    assert 0 < factors[-1] < 0.02


def test_without_warmup_training_starts_at_the_peak():
    assert learning_rate_factor(0, 10, 0.0, 1.0) == 1


def test_each_parameter_has_its_rate_and_decay():
    model = nn.Module()
    model.image_encoder = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    model.text_encoder = nn.Linear(2, 3)
    model.log_logit_scale = nn.Parameter(torch.zeros(()))
    model.text_encoder.bias.requires_grad_(False)
    settings = OptimizerConfig(learning_rate_image=1.0, learning_rate_text=2.0, weight_decay=0.5)
    groups = parameter_groups(model, settings)
    found = {(group["peak"], group["weight_decay"]): len(group["params"]) for group in groups}
    # Image: one matrix; two biases, a norm weight and the scale. Text: one matrix.
    assert found == {(1.0, 0.5): 1, (1.0, 0.0): 4, (2.0, 0.5): 1}


def test_stages_of_the_image_encoder_learn_slower_and_what_is_frozen_not_at_all():
    model = nn.Module()
    model.image_encoder = create_image_encoder("resnet10", embed_dim=4, width=1 / 16).freeze(3)
    model.text_encoder = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 4))
    settings = OptimizerConfig(learning_rate_image=1.0, learning_rate_text=2.0, layer_decay=0.5)
    groups = parameter_groups(model, settings)
    assert {group["peak"] for group in groups} == {0.25, 0.5, 1.0, 2.0}
    text = {
        group["weight_decay"]: [tuple(each.shape) for each in group["params"]]
        for group in groups
        if group["peak"] == 2.0
    }
    assert text == {0.01: [(4, 3)], 0.0: [(5, 3), (4,)]}
    free = sum(parameter.requires_grad for parameter in model.parameters())
    assert sum(len(group["params"]) for group in groups) == free
