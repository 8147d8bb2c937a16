"""The similarity of reports through the similarity of their findings."""

from dataclasses import dataclass
from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.operators.base import Index, SimilarityOperator
from selip_core.similarity.operators.identity import Identity
from selip_core.similarity.operators.sparse import sparse_matrix


@final
@dataclass(frozen=True, eq=False)
class Factored(SimilarityOperator):
    """``S = W K V' + diag(excess) E``: mean over pairs of findings, corrected for equal reports.

    Row ``i`` of ``W`` holds ``1 / m_i`` at the findings of report ``i``; ``K`` compares findings;
    ``E_ij`` is 1 where row ``i`` and column ``j`` are the same report. There ``excess`` lifts the
    mean to the value that equal reports shall have. Products cost ``O(U V d)`` for ``U`` and ``V``
    distinct findings, not ``O(N M d)``. Where the similarity of reports is no mean, ``W`` and ``V``
    pick the distinct contents of reports (a single 1 in each row), and ``K`` compares contents.

    Args:
        row_weights: Sparse (COO), N x U.
        kernel: U x V, in ``[0, 1]``.
        column_weights: Sparse (COO), M x V.
        same: Which rows and columns are the same report.
        excess: What each row adds where ``same`` is 1; not negative.

    Raises:
        ValueError: If the shapes, dtypes or devices of the factors do not fit.

    Example:
        >>> weights = torch.tensor([[0.5, 0.5], [0.0, 1.0]]).to_sparse()
        >>> same = Identity(torch.arange(2), torch.arange(2))
        >>> excess = torch.tensor([0.5, 0.0])
        >>> Factored(weights, torch.eye(2), weights, same, excess).dense()
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])

    Source:
        arXiv 2503.19801 (similarity of reports); the factored form is ours.
    """

    row_weights: Float[Tensor, "rows u"]
    kernel: Float[Tensor, "u v"]
    column_weights: Float[Tensor, "columns v"]
    same: Identity
    excess: Float[Tensor, " rows"]

    def __post_init__(self) -> None:
        rows, columns = self.row_weights.shape[0], self.column_weights.shape[0]
        inner = (self.row_weights.shape[1], self.column_weights.shape[1])
        outer = (rows, columns)
        if self.kernel.shape != inner or self.same.shape != outer or self.excess.shape != (rows,):
            raise ValueError(
                f"factors do not fit: weights {tuple(self.row_weights.shape)} and "
                f"{tuple(self.column_weights.shape)}, kernel {tuple(self.kernel.shape)}, "
                f"same {self.same.shape}, excess {tuple(self.excess.shape)}"
            )
        kinds = {
            (factor.dtype, factor.device)
            for factor in (self.row_weights, self.kernel, self.column_weights, self.excess)
        } | {(self.same.dtype, self.same.device)}
        if len(kinds) > 1:
            raise ValueError(f"factors must share dtype and device, got {sorted(map(str, kinds))}")

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.same.shape

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.kernel.dtype

    @property
    def device(self) -> torch.device:
        """Where the factors lie."""
        return self.kernel.device

    def _matmul(self, x: Tensor) -> Tensor:
        means = self.row_weights @ (self.kernel @ (self.column_weights.T @ x))
        return means + self.excess[:, None] * self.same._matmul(x)

    def _rmatmul(self, x: Tensor) -> Tensor:
        means = self.column_weights @ (self.kernel.T @ (self.row_weights.T @ x))
        return means + self.same._rmatmul(self.excess[:, None] * x)

    def _select(self, rows: Index, columns: Index) -> "Factored":
        row_weights, used_rows = _select_rows(self.row_weights, rows)
        column_weights, used_columns = _select_rows(self.column_weights, columns)
        return Factored(
            row_weights,
            self.kernel[used_rows[:, None], used_columns[None, :]],
            column_weights,
            self.same._select(rows, columns),
            self.excess[rows],
        )

    def _tile(self, rows: slice, columns: slice) -> Tensor:
        row_weights = _slice_rows(self.row_weights, rows)
        column_weights = _slice_rows(self.column_weights, columns)
        means = (column_weights @ (row_weights @ self.kernel).T).T
        return means + self.excess[rows, None] * self.same._tile(rows, columns)

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return type(self)(
            self.row_weights.to(device, dtype),
            self.kernel.to(device, dtype),
            self.column_weights.to(device, dtype),
            self.same.to(device, dtype),
            self.excess.to(device, dtype),
        )


def _slice_rows(weights: Tensor, rows: slice) -> Tensor:
    positions = torch.arange(weights.shape[0], device=weights.device)[rows]
    return weights.index_select(0, positions)


def _select_rows(weights: Tensor, rows: Index) -> tuple[Tensor, Index]:
    """Return these rows over the columns that they use, and which columns those are."""
    selected = weights.index_select(0, rows).coalesce()
    used, columns = torch.unique(selected.indices()[1], return_inverse=True)
    size = (rows.shape[0], used.shape[0])
    return sparse_matrix(selected.indices()[0], columns, selected.values(), size), used
