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
    ],
)
def test_wrong_shapes_are_told_the_nearest_right_one(shape, nearest):
    with pytest.raises(ValueError, match="volumes must have shape") as caught:
        SPEC.check_input(torch.empty(shape))
    assert f"got {shape}; the nearest right shape is {nearest}" in str(caught.value)
    SPEC.check_input(torch.empty(nearest))


def test_of_too_many_axes_none_is_guessed_to_be_wrong():
    with pytest.raises(ValueError, match=r"got \(3, 2, 9, 16, 16, 1\); that is too many axes$"):
        SPEC.check_input(torch.empty(3, 2, 9, 16, 16, 1))


@pytest.mark.parametrize(
    ("stride", "size", "nearest"),
    [
        ((2, 8, 8), (2, 8, 8), (3, 8, 8)),  # fewest more slices
        ((8, 8, 8), (8, 8, 8), (12, 8, 8)),  # of multiples, the nearest
        ((2, 8, 8), (3, 8, 8), (3, 8, 8)),  # two voxels along one axis are enough
        ((2, 8, 8), (1, 8, 16), (1, 8, 16)),
        ((2, 8, 8), (2, 3, 9), (3, 8, 8)),  # multiples first
    ],
)
def test_two_voxels_along_any_axis_can_be_normalised(stride, size, nearest):
    by = (stride[0] // 2, 8, 8)
    spec = ImageEncoderSpec(1, (4,), (stride,), minimum_size=by, divisor=by, normalized_map=-1)
    assert spec.nearest_size(size) == nearest
    spec.check_input(torch.empty(1, 1, *nearest))
    if size != nearest:
        with pytest.raises(ValueError, match=r"above \(., 8, 8\) along one axis or more"):
            spec.check_input(torch.empty(1, 1, *size))
