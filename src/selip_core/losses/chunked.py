"""The two sweeps over the logits in blocks of rows, in plain torch on any device.

A block of logits is made, used and dropped: memory is ``O(n d + block m)``.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.precision import accumulation_dtype, product

# A block and its two temporaries share this. On a CPU more than the caches hold brings nothing;
# a GPU needs larger blocks to be busy.
WORKSPACE_BYTES = {"cpu": 32 * 2**20, "cuda": 256 * 2**20}
TILES_ALIVE = 3
FEWEST_ROWS = 16


def row_blocks(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "m d"], tiles: int = TILES_ALIVE
) -> Iterator[slice]:
    """Yield slices of rows, so that ``tiles`` blocks of logits fit the workspace.

    A block has at least 16 rows, or products would be no better than one row at a time.
    """
    budget = WORKSPACE_BYTES.get(images.device.type, WORKSPACE_BYTES["cpu"])
    row_bytes = max(len(texts), 1) * accumulation_dtype(images.dtype).itemsize * tiles
    size = max(FEWEST_ROWS, budget // row_bytes)
    for start in range(0, len(images), size):
        yield slice(start, min(start + size, len(images)))


def logits_of(
    images: Float[Tensor, "b d"], texts: Float[Tensor, "m d"], logit_scale: Float[Tensor, ""]
) -> Float[Tensor, "b m"]:
    """Return ``logit_scale * images @ texts.T`` of one block."""
    return product(images, texts.T).mul_(logit_scale)


def logsumexps(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "m d"], logit_scale: Float[Tensor, ""]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Return the log-sum-exp of every row and of every column of the logits, in one sweep.

    Without rows the columns are minus infinity, the logarithm of an empty sum.
    """
    dtype = accumulation_dtype(images.dtype)
    rows = images.new_empty(len(images), dtype=dtype)
    columns = images.new_full((len(texts),), -torch.inf, dtype=dtype)
    for block in row_blocks(images, texts):
        logits = logits_of(images[block], texts, logit_scale)
        rows[block] = logits.logsumexp(1)
        columns = torch.logaddexp(columns, logits.logsumexp(0))
    return rows, columns


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
    """
    dtype = accumulation_dtype(images.dtype)
    image_products = torch.empty_like(images, dtype=dtype)
    text_products = torch.zeros_like(texts, dtype=dtype)
    for block in row_blocks(images, texts):
        logits = logits_of(images[block], texts, logit_scale)
        tile = (logits - rows[block, None]).exp_().mul_(row_weights[block, None])
        tile.addcmul_(logits.sub_(columns).exp_(), column_weights)
        tile.diagonal(first_own + block.start).sub_(own_weight)
        add_products(tile, block, images, texts, image_products, text_products)
    return image_products, text_products


def add_products(
    tile: Float[Tensor, "b m"],
    block: slice,
    images: Float[Tensor, "n d"],
    texts: Float[Tensor, "m d"],
    image_products: Float[Tensor, "n d"],
    text_products: Float[Tensor, "m d"],
) -> None:
    """Round a tile once; put its product with the texts, and add its product with the images."""
    tile = tile.to(images.dtype)
    image_products[block] = product(tile, texts)
    if tile.dtype == text_products.dtype:
        text_products.addmm_(tile.T, images[block])
    else:
        text_products.add_(product(tile.T, images[block]))
