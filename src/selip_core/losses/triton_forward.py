"""The first sweep in Triton: row and column log-sum-exps of logits that are never stored.

A program takes a block of rows and a run of columns. Its rows' maximum and sum stay in registers;
of each column it leaves one partial per block of rows. Every partial has a single writer and they
are folded in a fixed order, without atomics: repeats are bit-identical.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.triton_logits import logits_tile
from selip_core.losses.triton_tiles import (
    CHANGING,
    INTERPRETED,
    INTERPRETED_BLOCK,
    TUNING,
    fixed_arguments,
    row_panels,
)

# A run of columns is a multiple of the widest tile.
RUN_UNIT = INTERPRETED_BLOCK if INTERPRETED else 256
# So many programs that the last, incomplete wave of them costs little.
PROGRAMS_PER_PROCESSOR = 8
# Folding the column partials takes one temporary of their size.
PARTIALS_ALIVE = 2


@triton.autotune(**TUNING)
@triton.jit(do_not_specialize=[*CHANGING, "run"])
def _logsumexp_kernel(
    images: tl.tensor,
    texts: tl.tensor,
    logit_scale: tl.tensor,
    row_partials: tl.tensor,
    column_partials: tl.tensor,
    n: tl.tensor,
    m: tl.tensor,
    run: tl.tensor,
    width: tl.tensor,
    row_bucket: tl.tensor,
    column_bucket: tl.tensor,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    EVEN_WIDTH: tl.constexpr,
    INPUT_PRECISION: tl.constexpr,
) -> None:
    # Neighbouring programs read the same texts at the same time.
    row_blocks = tl.cdiv(n, BLOCK_ROWS)
    row_block = tl.program_id(0) % row_blocks
    split = tl.program_id(0) // row_blocks
    rows = row_block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    scale = tl.load(logit_scale).to(tl.float32)
    highest = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    for start in range(split * run, tl.minimum(split * run + run, m), BLOCK_COLUMNS):
        columns = start + tl.arange(0, BLOCK_COLUMNS)
        logits = logits_tile(
            images,
            texts,
            scale,
            rows,
            columns,
            n,
            m,
            width,
            BLOCK_WIDTH,
            EVEN_WIDTH,
            INPUT_PRECISION,
        )
        in_row = tl.where(columns[None, :] < m, logits, float("-inf"))
        higher = tl.maximum(highest, tl.max(in_row, 1))
        total = total * tl.exp(highest - higher) + tl.sum(tl.exp(in_row - higher[:, None]), 1)
        highest = higher
        in_column = tl.where(rows[:, None] < n, logits, float("-inf"))
        peak = tl.max(in_column, 0)
        partial = peak + tl.log(tl.sum(tl.exp(in_column - peak[None, :]), 0))
        place = column_partials + row_block.to(tl.int64) * m + columns
        tl.store(place, partial, mask=columns < m)
    place = row_partials + split.to(tl.int64) * n + rows
    tl.store(place, highest + tl.log(total), mask=rows < n)


def logsumexps(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "m d"], logit_scale: Float[Tensor, ""]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Return the float32 log-sum-exp of every row and of every column of the logits.

    Column partials take ``4 n m / block`` bytes, with more than the workspace in panels of rows.
    """
    images, texts = images.contiguous(), texts.contiguous()
    rows = images.new_full((len(images),), -torch.inf, dtype=torch.float32)
    columns = images.new_full((len(texts),), -torch.inf, dtype=torch.float32)
    tiles = fixed_arguments(images, texts)
    block = tiles["BLOCK_ROWS"]
    for panel in row_panels(len(images), block, 4 * len(texts) * PARTIALS_ALIVE):
        count = panel.stop - panel.start
        blocks = triton.cdiv(count, block)
        run = _run_of_columns(blocks, len(texts), images.device)
        splits = triton.cdiv(len(texts), run)
        row_partials = rows.new_empty(splits, count)
        column_partials = rows.new_empty(blocks, len(texts))
        _logsumexp_kernel[(blocks * splits,)](
            images[panel],
            texts,
            logit_scale,
            row_partials,
            column_partials,
            count,
            len(texts),
            run,
            **tiles,
        )
        rows[panel] = row_partials.logsumexp(0)
        columns = torch.logaddexp(columns, column_partials.logsumexp(0))
    return rows, columns


def _run_of_columns(blocks: int, columns: int, device: torch.device) -> int:
    """Return how many columns a program takes, so that there are programs enough to fill a GPU."""
    processors = 1
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
    units = triton.cdiv(columns, RUN_UNIT)
    splits = min(units, triton.cdiv(processors * PROGRAMS_PER_PROCESSOR, blocks))
    return int(triton.cdiv(units, splits) * RUN_UNIT)
