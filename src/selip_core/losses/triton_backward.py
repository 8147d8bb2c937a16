"""The second sweep: Triton recomputes a panel of the logits' gradient, the library multiplies it.

One kernel for all would add to the text gradient by atomics: more bytes than the panel, and no
two runs alike.
"""

import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.chunked import add_products, empty_sums
from selip_core.losses.triton_logits import logits_tile
from selip_core.losses.triton_tiles import CHANGING, TUNING, fixed_arguments, row_panels

# Blocks of rows that share a block of texts while it is in the cache.
GROUP_ROWS = tl.constexpr(8)


@triton.autotune(**TUNING)
@triton.jit(do_not_specialize=[*CHANGING, "first_own"])
def _gradient_kernel(
    images: tl.tensor,
    texts: tl.tensor,
    logit_scale: tl.tensor,
    row_logsumexps: tl.tensor,
    column_logsumexps: tl.tensor,
    row_weights: tl.tensor,
    column_weights: tl.tensor,
    gradient: tl.tensor,
    n: tl.tensor,
    m: tl.tensor,
    own_weight: tl.tensor,
    first_own: tl.tensor,
    width: tl.tensor,
    row_bucket: tl.tensor,
    column_bucket: tl.tensor,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    EVEN_WIDTH: tl.constexpr,
    INPUT_PRECISION: tl.constexpr,
) -> None:
    row_blocks = tl.cdiv(n, BLOCK_ROWS)
    column_blocks = tl.cdiv(m, BLOCK_COLUMNS)
    row_block, column_block = tl.swizzle2d(
        tl.program_id(0) // column_blocks,
        tl.program_id(0) % column_blocks,
        row_blocks,
        column_blocks,
        GROUP_ROWS,
    )
    rows = row_block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    columns = column_block * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    row_inside, column_inside = rows < n, columns < m
    scale = tl.load(logit_scale).to(tl.float32)
    logits = logits_tile(
        images, texts, scale, rows, columns, n, m, width, BLOCK_WIDTH, EVEN_WIDTH, INPUT_PRECISION
    )
    row_lse = tl.load(row_logsumexps + rows, mask=row_inside, other=float("inf"))
    row_weight = tl.load(row_weights + rows, mask=row_inside, other=0.0)
    column_lse = tl.load(column_logsumexps + columns, mask=column_inside, other=float("inf"))
    column_weight = tl.load(column_weights + columns, mask=column_inside, other=0.0)
    tile = tl.exp(logits - row_lse[:, None]) * row_weight[:, None]
    tile += tl.exp(logits - column_lse[None, :]) * column_weight[None, :]
    # Own pairs are taken off before the tile is rounded: at convergence the two nearly cancel.
    own = rows[:, None] + first_own == columns[None, :]
    tile = tl.where(own, tile - own_weight, tile)
    place = gradient + rows.to(tl.int64)[:, None] * m + columns[None, :]
    inside = row_inside[:, None] & column_inside[None, :]
    tl.store(place, tile.to(gradient.dtype.element_ty), mask=inside)


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
    """Return ``E @ texts`` and ``E.T @ images`` in float32; see ``chunked.gradient_products``.

    A panel of ``E`` in the features' type is all that is stored of it, within the workspace.
    """
    image_products, text_products = empty_sums(images, of_images), empty_sums(texts, of_texts)
    images, texts = images.contiguous(), texts.contiguous()
    tiles = fixed_arguments(images, texts)
    block = tiles["BLOCK_ROWS"]
    for panel in row_panels(len(images), block, block * len(texts) * images.itemsize):
        count = panel.stop - panel.start
        gradient = images.new_empty(count, len(texts))
        _gradient_kernel[_grid](
            images[panel],
            texts,
            logit_scale,
            rows[panel].contiguous(),
            columns.contiguous(),
            row_weights[panel].contiguous(),
            column_weights.contiguous(),
            gradient,
            count,
            len(texts),
            own_weight,
            first_own + panel.start,
            **tiles,
        )
        add_products(gradient, panel, images, texts, image_products, text_products)
    return image_products, text_products


def _grid(arguments: dict[str, int]) -> tuple[int]:
    row_blocks = triton.cdiv(arguments["n"], arguments["BLOCK_ROWS"])
    return (row_blocks * triton.cdiv(arguments["m"], arguments["BLOCK_COLUMNS"]),)
