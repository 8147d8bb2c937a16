"""Tables of relative positions, for another window."""

from jaxtyping import Float
from torch import Tensor

from selip_core.encoders.patches import resize_positions
from selip_core.encoders.spec import Size


def cube(count: int) -> Size | None:
    """Return the cube of so many cells; ``None`` if there is none.

    Example:
        >>> cube(216), cube(100)
        ((6, 6, 6), None)
    """
    edge = round(count ** (1 / 3))
    return (edge, edge, edge) if edge**3 == count else None


def resize_bias_table(
    table: Float[Tensor, "offsets heads"], window: Size, new_window: Size
) -> Float[Tensor, "new_offsets heads"]:
    """Return a table of relative position biases for another window, trilinear between offsets.

    The largest offset of one window becomes the largest of the other.

    Args:
        table: A row for each of ``product(2 * window - 1)`` offsets, those along width first.
        window: Patches along (depth, height, width) that it is for.
        new_window: Those wanted.

    Example:
        >>> import torch
        >>> resize_bias_table(torch.tensor([[-1.0], [0.0], [1.0]]), (1, 1, 2), (1, 1, 3)).flatten()
        tensor([-1.0000, -0.5000,  0.0000,  0.5000,  1.0000])
    """
    rows = table.float().unsqueeze(0)
    resized = resize_positions(rows, offsets(window), offsets(new_window), align_corners=True)
    return resized.squeeze(0).to(table)


def offsets(window: Size) -> Size:
    """Return how many offsets two patches of a window can have along each axis."""
    d, h, w = window
    return 2 * d - 1, 2 * h - 1, 2 * w - 1
