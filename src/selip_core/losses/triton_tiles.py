"""Sizes of the Triton kernels' tiles: what is fixed, what is tried, and what fits the workspace."""

from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor

# Column partials and the gradient tile are each held within this, or to one block of rows if even
# that is more: with 2^20 texts 0.5 GiB of float32.
WORKSPACE_BYTES = 256 * 2**20

INTERPRETED: bool = triton.knobs.runtime.interpret
INTERPRETED_BLOCK = 32


def block_rows(dtype: torch.dtype) -> int:
    """Return the rows of a tile; float32 has no matrix units to keep busy, and wider operands."""
    if INTERPRETED:
        return INTERPRETED_BLOCK
    return 64 if dtype == torch.float32 else 128


def block_width(dtype: torch.dtype) -> int:
    """Return the features that one step of a product takes.

    Both sweeps add up in the same order, or a softmax recomputed at logits of 1e4 would not be that
    of the first sweep: so this is not tuned.
    """
    if INTERPRETED:
        return INTERPRETED_BLOCK
    return 32 if dtype == torch.float32 else 64


def configurations() -> "list[triton.Config]":
    """Return what is timed once for each kind of batch; the interpreter has nothing to time."""
    if INTERPRETED:
        return [triton.Config({"BLOCK_COLUMNS": INTERPRETED_BLOCK})]
    tried = [(64, 4, 2), (64, 4, 4), (128, 8, 2), (128, 8, 3), (256, 8, 3)]
    return [
        triton.Config({"BLOCK_COLUMNS": columns}, num_warps=warps, num_stages=stages)
        for columns, warps, stages in tried
    ]


def worth_trying(
    configurations: "list[triton.Config]", arguments: dict[str, Any], **_: Any
) -> "list[triton.Config]":
    """Leave out tiles of more columns than there are, and the widest in float32."""
    widest = 128 if arguments["images"].dtype == torch.float32 else 256
    widest = min(widest, max(64, arguments["column_bucket"]))
    return [tiles for tiles in configurations if tiles.kwargs["BLOCK_COLUMNS"] <= widest]


# Batches of like size share a choice: a last, smaller batch of an epoch is not timed anew.
TUNING = {
    "configs": configurations(),
    "key": ["row_bucket", "column_bucket", "width", "INPUT_PRECISION"],
    "prune_configs_by": {"early_config_prune": worth_trying},
    "cache_results": True,
}
# Sizes that change from batch to batch do not compile a kernel anew.
CHANGING = ["n", "m", "row_bucket", "column_bucket"]


def fixed_arguments(images: Tensor, texts: Tensor) -> dict[str, Any]:
    """Return the arguments that tiles of both sweeps have in common.

    Without fusion a logit is rounded once, and alike in both sweeps: where one pair has all the
    probability it is exactly 1.
    """
    width = images.shape[1]
    return {
        "width": width,
        "row_bucket": triton.next_power_of_2(len(images)),
        "column_bucket": triton.next_power_of_2(len(texts)),
        "BLOCK_ROWS": block_rows(images.dtype),
        "BLOCK_WIDTH": block_width(images.dtype),
        "EVEN_WIDTH": width % block_width(images.dtype) == 0,
        "INPUT_PRECISION": input_precision(),
        "enable_fp_fusion": False,
    }


def input_precision() -> str:
    """Return how float32 features are multiplied: exactly, unless torch may round them to tf32."""
    if torch.version.hip is None and torch.backends.cuda.matmul.fp32_precision == "tf32":
        return "tf32"
    return "ieee"


def row_panels(rows: int, block: int, block_bytes: int) -> Iterator[slice]:
    """Yield slices of whole blocks of rows, each within the workspace or one block.

    None of blocks that take no bytes, as without columns: there is nothing to compute.
    """
    if block_bytes == 0:
        return
    size = block * max(1, WORKSPACE_BYTES // block_bytes)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
