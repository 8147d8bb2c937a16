from functools import partial

import pytest
import torch

from selip_core.encoders import (
    AttentionPooling,
    AveragePooling,
    ClassTokenPooling,
    GeMPooling,
    GridPooling,
    ImageEncoder,
)
from selip_core.encoders.pooling import create_pooling
from selip_core.encoders.pooling.attention import position_waves


def test_average_is_the_mean_of_the_map():
    pooling = AveragePooling(channels=2, embed_dim=2)
    torch.nn.init.eye_(pooling.projection.weight)
    torch.nn.init.zeros_(pooling.projection.bias)
    x = torch.tensor([[1.0, 3.0], [5.0, 9.0]]).reshape(1, 2, 1, 1, 2)
    torch.testing.assert_close(pooling(x), torch.tensor([[2.0, 7.0]]))


def test_grid_is_the_mean_of_each_cell_in_depth_height_width_order():
    pooling = GridPooling(channels=1, embed_dim=4, grid=(1, 2, 2))
    torch.nn.init.eye_(pooling.projection.weight)
    torch.nn.init.zeros_(pooling.projection.bias)
    x = torch.tensor([[1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 6.0]]).reshape(1, 1, 1, 2, 4)
    torch.testing.assert_close(pooling(x), torch.tensor([[1.0, 2.0, 3.0, 5.0]]))


def test_gem_is_the_generalised_mean():
    pooling = GeMPooling(channels=1, embed_dim=1, power=2.0)
    torch.nn.init.eye_(pooling.projection.weight)
    torch.nn.init.zeros_(pooling.projection.bias)
    x = torch.tensor([1.0, 7.0]).reshape(1, 1, 1, 1, 2)
    torch.testing.assert_close(pooling(x), torch.tensor([[5.0]]))  # sqrt((1 + 49) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e4])
def test_gem_is_finite_at_any_scale_and_for_negative_maps(dtype, scale):
    pooling = GeMPooling(channels=3, embed_dim=2, power=20.0).to(dtype)
    x = scale * torch.randn(2, 3, 2, 3, 4)
    x[:, 0] = -scale
    x = x.to(dtype).requires_grad_()
    embedding = pooling(x)
    embedding.float().sum().backward()
    for tensor in (embedding, x.grad, *(p.grad for p in pooling.parameters())):
        assert tensor.isfinite().all()


def test_gem_learns_its_power_and_keeps_it_above_one():
    pooling = GeMPooling(channels=1, embed_dim=1, power=1.1)
    torch.nn.init.ones_(pooling.projection.weight)
    x = torch.rand(1, 1, 2, 3, 4)
    optimizer = torch.optim.SGD([pooling.raw_power], lr=100.0)
    for _ in range(5):  # towards the mean, the smallest of these means
        optimizer.zero_grad()
        pooling(x).sum().backward()
        assert pooling.raw_power.grad.item() > 0
        optimizer.step()
    assert pooling.power.item() >= 1
    with pytest.raises(ValueError, match="power must be above 1 and finite, got 1"):
        GeMPooling(1, 1, power=1)


def test_attention_is_the_softmax_of_its_queries():
    pooling = AttentionPooling(channels=2, embed_dim=2, heads=1)
    torch.nn.init.zeros_(pooling.position.weight)
    torch.nn.init.eye_(pooling.projection.weight)
    torch.nn.init.zeros_(pooling.projection.bias)
    pooling.query.weight.data = torch.tensor([[0.5, 0.0]])
    x = torch.tensor([[3.0, 0.0], [1.0, 2.0]]).reshape(1, 2, 1, 1, 2)
    # Normalised over channels the voxels are (1, -1) and (-1, 1): scores 1/2 and -1/2.
    weight = torch.tensor(0.5).exp() / (torch.tensor(0.5).exp() + torch.tensor(-0.5).exp())
    expected = torch.stack([2 * weight - 1, 1 - 2 * weight]).unsqueeze(0)
    torch.testing.assert_close(pooling(x), expected, rtol=1e-4, atol=1e-4)


def test_a_place_is_the_same_part_of_the_volume_at_any_size():
    coarse = position_waves(torch.zeros(1, 1, 1, 1, 1))
    fine = position_waves(torch.zeros(1, 3, 5, 7, 1))
    torch.testing.assert_close(coarse[0, 0, 0], fine[1, 2, 3])
    whole = position_waves(torch.zeros(1, 4, 6, 8, 1)).flatten(0, 2)
    assert len(whole.unique(dim=0)) == 4 * 6 * 8


@pytest.mark.parametrize(
    ("name", "sees"), [("avg", False), ("gem", False), ("grid", True), ("attention", True)]
)
@pytest.mark.parametrize("axis", [2, 3, 4])
def test_grid_and_attention_tell_left_from_right(name, sees, axis):
    here = torch.zeros(1, 3, 4, 4, 4)
    here.narrow(axis, 0, 2).fill_(1).mul_(torch.tensor([1.0, 2.0, 4.0]).reshape(3, 1, 1, 1))
    torch.manual_seed(0)
    pooling = create_pooling(name, channels=3, embed_dim=5)
    assert torch.allclose(pooling(here), pooling(here.flip(axis)), atol=1e-6) is not sees


@pytest.mark.parametrize("name", ["attention", "avg", "gem", "grid"])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 7, 7), (5, 4, 6)])
def test_takes_any_size(name, size):
    assert create_pooling(name, 2, 3)(torch.zeros(2, 2, *size)).shape == (2, 3)


@pytest.mark.parametrize("name", ["attention", "gem"])
def test_bfloat16_is_near_float32(name):
    torch.manual_seed(0)
    pooling = create_pooling(name, channels=8, embed_dim=5)
    x = torch.randn(2, 8, 3, 4, 5)
    with torch.no_grad():
        exact = pooling(x)
        low = pooling.bfloat16()(x.bfloat16())
    assert (low.float() - exact).norm() < 0.02 * exact.norm()


def test_class_token_is_for_those_who_have_one():
    assert isinstance(create_pooling("cls", 4, 5, class_token=True), ClassTokenPooling)
    for pooling in ("cls", ClassTokenPooling, lambda *sizes: ClassTokenPooling(*sizes)):
        with pytest.raises(ValueError, match=r"needs a class token.* \['attention', 'avg"):
            create_pooling(pooling, 4, 5)


def test_a_function_may_make_the_pooling():
    pooling = create_pooling(partial(GridPooling, grid=(1, 2, 3)), channels=4, embed_dim=5)
    assert pooling.projection.in_features == 4 * 6


def test_a_name_may_have_options():
    pooling = create_pooling(("grid", {"grid": (1, 2, 3)}), channels=4, embed_dim=5)
    assert pooling.projection.in_features == 4 * 6
    assert create_pooling(("gem", {"power": 5.0}), 4, 5).power.item() == pytest.approx(5)
    assert create_pooling(("grid", {"grid": 2}), 4, 5).projection.in_features == 4 * 8


def test_a_pooling_with_options_comes_back_from_a_folder(create_small, tmp_path):
    encoder = create_small("resnet10", pooling=("grid", {"grid": (1, 2, 2)})).eval()
    encoder.save_pretrained(tmp_path / "encoder")
    again = ImageEncoder.from_pretrained(tmp_path / "encoder")
    assert again.settings == encoder.settings
    x = torch.randn(1, 1, 8, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(x), encoder(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        (("grid", {"cells": 2}), r"'grid': cells: unknown.* Its options are \['grid'\]"),
        (("avg", {"channels": 2}), r"'avg': channels: unknown; .* Its options are \[\]"),
        (("gem", {"power": "x"}), "wrong options of pooling 'gem': power: .* valid number"),
        (("max", {}), "pooling must be one of .*, got 'max'"),
        (("grid", {"grid": (2, 0, 2)}), r"grid must be a whole number .*, got \(2, 0, 2\)"),
        (None, r"pooling must be a name, .* or a function that makes a module, got None"),
        (3, "pooling must be a name, .*, got 3"),
        (("grid",), r"pooling must be a name, .*, got \('grid',\)"),
        (("grid", (2, 4, 4)), r"pooling must be a name, .*, got \('grid', \(2, 4, 4\)\)"),
        (("attention", {"heads": 0}), "heads must be a whole number of at least 1, got 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(pooling, message):
    with pytest.raises(ValueError, match=message):
        create_pooling(pooling, channels=4, embed_dim=5)


def test_unknown_name_is_refused():
    with pytest.raises(
        ValueError, match=r"pooling must be one of \['attention', .*, 'grid'\], got 'max'"
    ):
        create_pooling("max", channels=4, embed_dim=5)
