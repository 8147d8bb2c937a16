from functools import partial

import pytest
import torch

from selip_core.encoders import AveragePooling, GridPooling
from selip_core.encoders.pooling import create_pooling


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


def test_only_the_grid_tells_left_from_right():
    left = torch.zeros(1, 3, 4, 4, 4)
    left[..., :2] = 1
    right = left.flip(-1)
    for name, sees in (("avg", False), ("grid", True)):
        torch.manual_seed(0)
        pooling = create_pooling(name, channels=3, embed_dim=5)
        assert torch.allclose(pooling(left), pooling(right), atol=1e-6) is not sees


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 7, 7), (5, 4, 6)])
def test_grid_takes_any_size(size):
    assert GridPooling(2, 3)(torch.zeros(2, 2, *size)).shape == (2, 3)


def test_a_function_may_make_the_pooling():
    pooling = create_pooling(partial(GridPooling, grid=(1, 2, 3)), channels=4, embed_dim=5)
    assert pooling.projection.in_features == 4 * 6


def test_unknown_name_is_refused():
    with pytest.raises(
        ValueError, match=r"pooling must be one of \['attention', .*, 'grid'\], got 'max'"
    ):
        create_pooling("max", channels=4, embed_dim=5)
