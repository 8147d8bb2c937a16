"""Strides of a pyramid from the steps between its maps."""

from collections.abc import Iterable
from itertools import accumulate

from selip_core.encoders.spec import Size

HALVED: Size = (2, 2, 2)


def strides_of(steps: Iterable[Size]) -> tuple[Size, ...]:
    """Return the stride of every map, counted from the input.

    Args:
        steps: The stride of each map along (depth, height, width), counted from the map before.

    Example:
        >>> strides_of([(1, 2, 2), (1, 2, 2), (2, 2, 2)])
        ((1, 2, 2), (1, 4, 4), (2, 8, 8))
    """
    return tuple(
        accumulate(
            steps, lambda one, other: (one[0] * other[0], one[1] * other[1], one[2] * other[2])
        )
    )


def half_a_voxel(stride: Size) -> Size:
    """Return the smallest volume of which the coarsest map still sees more than padding.

    At least one voxel: a stride may be odd, or 1.

    Example:
        >>> half_a_voxel((1, 32, 32))
        (1, 16, 16)
    """
    return (max(1, stride[0] // 2), max(1, stride[1] // 2), max(1, stride[2] // 2))
