"""The entropy of the target's distributions, which tells KL divergence from cross-entropy."""

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.chunked import row_blocks
from selip_core.losses.ranks import Ranks
from selip_core.losses.target import (
    EntropyTarget,
    TiledTarget,
    TwoWayTarget,
    is_tiled,
    knows_entropy,
)

Entropies = tuple[Float[Tensor, " n"], Float[Tensor, " n"]]

# Similarities, a distribution and its terms.
TILES_ALIVE = 3


def target_entropies(
    target: TwoWayTarget, label_smoothing: float, ranks: Ranks
) -> Entropies | None:
    """Return the entropies of this rank's rows and of its own columns, in nats.

    The operator gives them. Smoothing is not linear in the entropy, so smoothed targets are read in
    tiles. None if the operator can do neither.
    """
    similarities = target.similarities
    if label_smoothing == 0 and knows_entropy(similarities):
        return _of_operator(similarities, target.column_sums, ranks)
    if is_tiled(similarities):
        return _of_tiles(similarities, target, label_smoothing, ranks)
    return None


def _of_operator(
    similarities: EntropyTarget, column_sums: Float[Tensor, " m"], ranks: Ranks
) -> Entropies:
    """Put the columns together from the rows of all ranks.

    With ``c`` the sum of a column's part, ``H = log c - sum(s log s)/c`` gives ``sum(s log s)``,
    which adds up.
    """
    rows, columns = similarities.entropy()
    if ranks.group is None:
        return rows, columns
    part = similarities.column_sums()
    terms = ranks.sum(torch.where(part > 0, part * (part.log() - columns), 0))
    return rows, (column_sums.log() - terms / column_sums)[ranks.own]


def _of_tiles(
    similarities: TiledTarget, target: TwoWayTarget, label_smoothing: float, ranks: Ranks
) -> Entropies:
    row_sums, column_sums = target.row_sums[:, None], target.column_sums
    uniform = label_smoothing / ranks.total
    rows, columns = torch.empty_like(target.row_sums), torch.zeros_like(column_sums)
    for block in row_blocks(row_sums, column_sums[:, None], TILES_ALIVE):
        sharp = (1 - label_smoothing) * similarities.tile(block, slice(0, ranks.total))
        by_row, by_column = sharp / row_sums[block] + uniform, sharp / column_sums + uniform
        rows[block] = -torch.xlogy(by_row, by_row).sum(1)
        columns -= torch.xlogy(by_column, by_column).sum(0)
    return rows, ranks.sum(columns)[ranks.own]
