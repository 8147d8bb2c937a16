"""A floor under the share that the own report has of its row and column."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.operators import Factored, Identity, Index, ScaledSum

_ROUNDS = 6


def lift_equal(
    unequal: Factored,
    row_labels: Index,
    column_labels: Index,
    own: Float[Tensor, " rows"],
    floor: float = 0.0,
) -> ScaledSum:
    """Return the similarity with 1 where reports are the same, and the floor under that.

    With ``E`` 1 at the same reports and ``R`` what is not the same, ``S = E + D_r R D_c``, with
    diagonal factors of at most 1 by which the same reports have at least ``floor`` of the sum of
    every row and of every column. The factors depend on the whole batch: make its operator, and
    select from that.

    Args:
        unequal: ``R``, and at the same reports ``own``, which is replaced by 1.
        row_labels: Equal labels are the same report.
        column_labels: Likewise.
        own: What ``unequal`` gives each row with its same report, in ``[0, 1]``.
        floor: In ``[0, 1)``; 0 leaves ``R`` as it is.

    Example:
        >>> from selip_core.similarity.operators import Dense, Sparse
        >>> eye, labels = Sparse.of_table(torch.eye(3)), torch.arange(3)
        >>> alike, own = Factored(eye, Dense(torch.full((3, 3), 0.5)), eye), torch.full((3,), 0.5)
        >>> lift_equal(alike, labels, labels, own).dense()[0]
        tensor([1.0000, 0.5000, 0.5000])
        >>> lift_equal(alike, labels, labels, own, floor=0.8).dense()[0]
        tensor([1.0000, 0.1250, 0.1250])
    """
    excess = Identity(row_labels, column_labels, (1 - own).clamp(min=0))
    lifted = ScaledSum((1.0, 1.0), (unequal, excess))
    if floor == 0:
        return lifted
    same = Identity(row_labels, column_labels, torch.ones_like(own))
    of_rows, of_columns = _damping(lifted, same, floor)
    damped = Factored(
        unequal.row_weights.scaled_rows(of_rows),
        unequal.kernel,
        unequal.column_weights.scaled_rows(of_columns),
    )
    # Columns of one label share their factor, so the mean over them is that factor.
    of_same_column = same.matmul(of_columns[:, None]).squeeze(1) / same.row_sums().clamp(min=1)
    excess = Identity(row_labels, column_labels, (1 - own * of_rows * of_same_column).clamp(min=0))
    return ScaledSum((1.0, 1.0), (damped, excess))


def _damping(
    lifted: ScaledSum, same: Identity, floor: float
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " columns"]]:
    """Return the factors of rows and columns: a few rounds of symmetric scaling, as Sinkhorn's.

    Rows and columns take a square root of the excess each, so that a symmetric similarity stays
    one; the last round takes all that is left, which only lowers the others' sums.
    """
    room_of_rows = _room(same.row_sums(), floor)
    room_of_columns = _room(same.column_sums(), floor)
    rows, columns = torch.ones_like(room_of_rows), torch.ones_like(room_of_columns)
    for power in (*[0.5] * _ROUNDS, 1.0):
        others = rows * _others(lifted.matmul, same.matmul, columns)
        others_of_columns = columns * _others(lifted.rmatmul, same.rmatmul, rows)
        rows = rows * (room_of_rows / others).clamp(max=1).nan_to_num(nan=1) ** power
        columns = (
            columns * (room_of_columns / others_of_columns).clamp(max=1).nan_to_num(nan=1) ** power
        )
    return rows, columns


def _room(same: Tensor, floor: float) -> Tensor:
    """Return what others may have; all, where the batch lacks the same report."""
    return torch.where(same > 0, same * (1 - floor) / floor, torch.inf)


def _others(
    product: Callable[[Tensor], Tensor], of_same: Callable[[Tensor], Tensor], factors: Tensor
) -> Tensor:
    """Return the weighted sums over what is not the same."""
    vector = factors[:, None]
    return (product(vector) - of_same(vector)).squeeze(1).clamp(min=0)
