import pytest
import torch

from selip_core.encoders import ImageEncoderSpec

SPEC = ImageEncoderSpec(
    in_channels=2,
    stage_channels=(4, 8),
    stage_strides=((1, 2, 2), (2, 4, 4)),
    minimum_size=(4, 16, 16),
    divisor=(1, 8, 8),
)


def test_map_sizes_are_rounded_up():
    assert SPEC.stage_sizes((5, 32, 40)) == [(5, 16, 20), (3, 8, 10)]


@pytest.mark.parametrize("shape", [(1, 2, 4, 16, 16), (7, 2, 5, 24, 160), (0, 2, 4, 16, 16)])
def test_allowed_shapes_pass(shape):
    SPEC.check_input(torch.empty(shape))


@pytest.mark.parametrize(
    ("shape", "nearest"),
    [
        ((3, 2, 2, 16, 16), (3, 2, 4, 16, 16)),  # too few slices
        ((3, 1, 9, 16, 16), (3, 2, 9, 16, 16)),  # wrong channels
        ((3, 2, 9, 21, 35), (3, 2, 9, 24, 32)),  # not multiples
        ((2, 9, 16, 16), (1, 2, 9, 16, 16)),  # one volume without its batch axis
        ((5, 9, 16, 16), (5, 2, 9, 16, 16)),  # a batch without its channel axis
        ((9, 16, 16), (1, 2, 9, 16, 16)),  # a bare volume
        ((16, 24), (1, 2, 4, 16, 24)),  # a slice
        ((3, 2, 9, 16, 16, 1), (3, 2, 16, 16, 16)),  # too many axes
    ],
)
def test_wrong_shapes_are_told_the_nearest_right_one(shape, nearest):
    with pytest.raises(ValueError, match="volumes must have shape") as caught:
        SPEC.check_input(torch.empty(shape))
    assert f"got {shape}; the nearest right shape is {nearest}" in str(caught.value)
    SPEC.check_input(torch.empty(nearest))
