"""The two sweeps over the logits in tiles, in plain torch on any device.

A tile of logits is made, used and dropped: memory is ``O((n + m) d)`` and a fixed workspace.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.precision import accumulation_dtype, product

# A tile and its two temporaries share this. On a CPU more than the caches hold brings nothing;
# a GPU needs larger tiles to be busy.
WORKSPACE_BYTES = {"cpu": 32 * 2**20, "cuda": 256 * 2**20}
TILES_ALIVE = 3
FEWEST_ROWS = 16


def tiles(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "m d"]
) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of tiles that fill the workspace and are square where there is room.

    A tile of side ``s`` does ``2 s s d`` operations for ``2 s d`` numbers read.
    """
    values = _values_alive(images, TILES_ALIVE)
    width = max(FEWEST_ROWS, math.isqrt(values), values // max(len(images), 1))
    for columns in _slices(len(texts), width):
        height = max(FEWEST_ROWS, values // (columns.stop - columns.start))
        for rows in _slices(len(images), height):
            yield rows, columns


def row_blocks(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "m d"], tiles: int = TILES_ALIVE
) -> Iterator[slice]:
    """Yield slices of rows, so that ``tiles`` blocks of whole rows fit the workspace.

    A block has at least 16 rows, or products would be no better than one row at a time.
    """
    size = max(FEWEST_ROWS, _values_alive(images, tiles) // max(len(texts), 1))
    yield from _slices(len(images), size)


def _values_alive(images: Float[Tensor, "n d"], tiles: int) -> int:
    budget = WORKSPACE_BYTES.get(images.device.type, WORKSPACE_BYTES["cpu"])
    return budget // (accumulation_dtype(images.dtype).itemsize * tiles)


def _slices(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def logits_of(
    images: Float[Tensor, "b d"], texts: Float[Tensor, "m d"], logit_scale: Float[Tensor, ""]
) -> Float[Tensor, "b m"]:
    """Return ``logit_scale * images @ texts.T`` of one block."""
    return product(images, texts.T).mul_(logit_scale)


def logsumexps(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "m d"], logit_scale: Float[Tensor, ""]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Return the log-sum-exp of every row and of every column of the logits, in one sweep.

    Of nothing it is minus infinity, the logarithm of an empty sum.
    """
    dtype = accumulation_dtype(images.dtype)
    by_row = images.new_full((len(images),), -torch.inf, dtype=dtype)
    by_column = images.new_full((len(texts),), -torch.inf, dtype=dtype)
    for rows, columns in tiles(images, texts):
        logits = logits_of(images[rows], texts[columns], logit_scale)
        by_row[rows] = torch.logaddexp(by_row[rows], logits.logsumexp(1))
        by_column[columns] = torch.logaddexp(by_column[columns], logits.logsumexp(0))
    return by_row, by_column


def gradient_products(
    images: Float[Tensor, "n d"],
    texts: Float[Tensor, "m d"],
    logit_scale: Float[Tensor, ""],
    rows: Float[Tensor, " n"],
    columns: Float[Tensor, " m"],
    row_weights: Float[Tensor, " n"],
    column_weights: Float[Tensor, " m"],
    own_weight: float,
    first_own: int,
    of_images: bool = True,
    of_texts: bool = True,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Return ``E @ texts`` and ``E.T @ images`` in the accumulation type, in one sweep.

    ``E = diag(row_weights) P_rows + P_columns diag(column_weights)`` with ``own_weight`` taken from
    the own pairs, both softmaxes recomputed from the log-sum-exps. At convergence the two nearly
    cancel, so they meet before a tile is rounded to the features' precision.

    Args:
        images: Rows.
        texts: Columns.
        logit_scale: The multiplier.
        rows: Log-sum-exp of every row.
        columns: Log-sum-exp of every column.
        row_weights: Of the softmax of each row.
        column_weights: Of the softmax of each column.
        own_weight: Of the own pairs.
        first_own: The column of the first row's own text.
        of_images: Whether the first product is wanted; else it has no rows and costs nothing.
        of_texts: Whether the second is.
    """
    image_products, text_products = empty_sums(images, of_images), empty_sums(texts, of_texts)
    for block, across in tiles(images, texts):
        logits = logits_of(images[block], texts[across], logit_scale)
        tile = (logits - rows[block, None]).exp_().mul_(row_weights[block, None])
        tile.addcmul_(logits.sub_(columns[across]).exp_(), column_weights[across])
        tile.diagonal(first_own + block.start - across.start).sub_(own_weight)
        add_products(tile, block, images, texts[across], image_products, text_products[across])
    return image_products, text_products


def empty_sums(features: Float[Tensor, "n d"], wanted: bool) -> Float[Tensor, "k d"]:
    """Return zeros for a product of each row; without rows where it is not wanted."""
    rows = features if wanted else features[:0]
    return torch.zeros_like(rows, dtype=accumulation_dtype(features.dtype))


def add_products(
    tile: Float[Tensor, "b m"],
    block: slice,
    images: Float[Tensor, "n d"],
    texts: Float[Tensor, "m d"],
    image_products: Float[Tensor, "n d"],
    text_products: Float[Tensor, "m d"],
) -> None:
    """Round a tile of these rows once, and add its products with the texts and with the images.

    Sums without rows are not wanted, and left alone.
    """
    tile = tile.to(images.dtype)
    _add_product(image_products[block], tile, texts)
    _add_product(text_products, tile.T, images[block])


def _add_product(
    total: Float[Tensor, "a d"], left: Float[Tensor, "a b"], right: Float[Tensor, "b d"]
) -> None:
    if len(total) == 0:
        return
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total.add_(product(left, right))
