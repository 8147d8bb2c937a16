"""A product of three operators."""

from dataclasses import dataclass
from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.operators.base import Index, SimilarityOperator
from selip_core.similarity.operators.sparse import Sparse


@final
@dataclass(frozen=True, eq=False)
class Factored(SimilarityOperator):
    """``S = W K V'``: reports are as alike as what they are made of.

    For the mean over pairs of findings, row ``i`` of ``W`` holds ``1 / m_i`` at the findings of
    report ``i`` and ``K`` compares findings; products cost ``O(U V d)`` for ``U`` and ``V``
    distinct findings, not ``O(N M d)``. Where the similarity of reports is no mean, ``W`` and ``V``
    pick the distinct contents of reports (a single 1 in each row), and ``K`` compares contents.

    Args:
        row_weights: ``W``, N x U.
        kernel: ``K``, U x V, any operator.
        column_weights: ``V``, M x V.

    Raises:
        ValueError: If the shapes, dtypes or devices of the factors do not fit.

    Example:
        >>> from selip_core.similarity.operators import Dense
        >>> weights = Sparse.of_table(torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
        >>> Factored(weights, Dense(torch.eye(2)), weights).dense()
        tensor([[0.5000, 0.5000],
                [0.5000, 1.0000]])

    Source:
        arXiv 2503.19801 (similarity of reports); the factored form is ours.
    """

    row_weights: Sparse
    kernel: SimilarityOperator
    column_weights: Sparse

    def __post_init__(self) -> None:
        factors = (self.row_weights, self.kernel, self.column_weights)
        if self.kernel.shape != (self.row_weights.shape[1], self.column_weights.shape[1]):
            shapes = ", ".join(str(factor.shape) for factor in factors)
            raise ValueError(f"W K V' needs (n, u), (u, v) and (m, v), got {shapes}")
        kinds = {(factor.dtype, factor.device) for factor in factors}
        if len(kinds) > 1:
            raise ValueError(f"factors must share dtype and device, got {sorted(map(str, kinds))}")

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.row_weights.shape[0], self.column_weights.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.kernel.dtype

    @property
    def device(self) -> torch.device:
        """Where the factors lie."""
        return self.kernel.device

    @property
    def nbytes(self) -> int:
        """Bytes of the factors."""
        weights = {id(part): part.nbytes for part in (self.row_weights, self.column_weights)}
        return self.kernel.nbytes + sum(weights.values())

    @property
    def recomputes(self) -> bool:
        """Whether the kernel does."""
        return self.kernel.recomputes

    def _matmul(self, x: Tensor) -> Tensor:
        return self.row_weights._matmul(self.kernel._matmul(self.column_weights._rmatmul(x)))

    def _rmatmul(self, x: Tensor) -> Tensor:
        return self.column_weights._matmul(self.kernel._rmatmul(self.row_weights._rmatmul(x)))

    def _select(self, rows: Index, columns: Index) -> "Factored":
        row_weights, used_rows = self.row_weights.restricted(rows)
        column_weights, used_columns = self.column_weights.restricted(columns)
        return Factored(row_weights, self.kernel._select(used_rows, used_columns), column_weights)

    def _tile(self, rows: slice, columns: slice) -> Float[Tensor, "tile_rows tile_columns"]:
        height, width = (torch.arange(size, device=self.device) for size in self.shape)
        return self._select(height[rows], width[columns]).dense()

    def dense(self) -> Float[Tensor, "rows columns"]:
        """Return the whole table: for people and tests, never for training."""
        half = self.row_weights.matmul(self.kernel.dense())
        return self.column_weights.matmul(half.T.contiguous()).T

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        row_weights = self.row_weights.to(device, dtype)
        shared = self.column_weights is self.row_weights
        return type(self)(
            row_weights,
            self.kernel.to(device, dtype),
            row_weights if shared else self.column_weights.to(device, dtype),
        )
