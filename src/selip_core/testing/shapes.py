"""Sizes at which tiled code breaks."""

from typing import NamedTuple


class Shape(NamedTuple):
    """Sizes of one batch.

    Attributes:
        images: Rows of the image features.
        texts: Rows of the text features.
        width: Columns of both.
    """

    images: int
    texts: int
    width: int


def shapes(tile: int = 64, *, paired: bool = False) -> list[Shape]:
    """Return a few shapes that cover what matters to code that works in tiles.

    Sizes are 1, 2, an odd one, ``tile`` and its neighbours, and two tiles with a ragged rest. Every
    size occurs as number of images, of texts and as width, so a list of eight does. The last has
    whole tiles only.

    Args:
        tile: Side of the tiles, at least 2; a power of two in most kernels.
        paired: As many texts as images, as a loss wants it; else they differ in all but the last.

    Raises:
        ValueError: If there is no tile.

    Example:
        >>> for shape in shapes(16)[-3:]:
        ...     print(*shape)
        17 1 7
        35 2 15
        16 16 16
        >>> all(shape.images == shape.texts for shape in shapes(16, paired=True))
        True
    """
    if tile < 2:
        raise ValueError(f"tile must be at least 2, got {tile}")
    sizes = (1, 2, 7, tile - 1, tile, tile + 1, 2 * tile + 3)
    texts, widths = _rotated(sizes, 2), _rotated(sizes, 4)
    mixed = [
        Shape(images, images if paired else other, width)
        for images, other, width in zip(sizes, texts, widths, strict=True)
    ]
    return [*mixed, Shape(tile, tile, tile)]


def _rotated(sizes: tuple[int, ...], by: int) -> tuple[int, ...]:
    return sizes[by:] + sizes[:by]
