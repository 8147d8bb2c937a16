"""A similarity that is computed when it is needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.operators.base import Index, SimilarityOperator, row_slices

LARGEST_TABLE = 8192
"""Rows or columns from which on no table is kept."""

_CPU = torch.device("cpu")


@runtime_checkable
class BlockSource(Protocol):
    """What can compute any block of a similarity."""

    def block(
        self, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return the similarities of these positions (on the CPU), in ``[0, 1]``."""

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""


@final
@dataclass(frozen=True, eq=False)
class RowBlocks(SimilarityOperator):
    """``S_ij = source(rows_i, columns_j)``, in blocks of rows that are multiplied and dropped.

    Nothing is computed when it is made or selected from. Below :data:`LARGEST_TABLE` rows and
    columns the first product keeps the table; above, each product computes the blocks again.
    Blocks are computed on the CPU and multiplied on ``device``.

    Args:
        source: Computes blocks; shared with whatever is selected from this.
        rows: int64, on the CPU, the source's position of each row.
        columns: Likewise.
        precision: float32 or float64.
        place: The device of products.

    Example:
        >>> class Distance:
        ...     nbytes = 0
        ...     def block(self, rows, columns, dtype):
        ...         return 1 / (1 + (rows[:, None] - columns[None, :]).abs().to(dtype))
        >>> RowBlocks(Distance(), torch.tensor([0, 3]), torch.tensor([0, 1])).dense()
        tensor([[1.0000, 0.5000],
                [0.2500, 0.3333]])
    """

    source: BlockSource
    rows: Index
    columns: Index
    precision: torch.dtype = torch.float32
    place: torch.device = _CPU

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.rows.shape[0], self.columns.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.precision

    @property
    def device(self) -> torch.device:
        """Where products are computed."""
        return self.place

    @property
    def nbytes(self) -> int:
        """Bytes of the positions and of the source, and of the table where there will be one."""
        table = self.rows.shape[0] * self.columns.shape[0] * self.precision.itemsize
        own = self.rows.nbytes + self.columns.nbytes + self.source.nbytes
        return own + (table if self._keeps_table else 0)

    @property
    def recomputes(self) -> bool:
        """Whether no table is kept."""
        return not self._keeps_table

    @property
    def _keeps_table(self) -> bool:
        return max(self.shape) < LARGEST_TABLE

    @cached_property
    def _table(self) -> Float[Tensor, "rows columns"]:
        return self._block(self.rows, self.columns)

    def _block(self, rows: Index, columns: Index) -> Float[Tensor, "rows columns"]:
        return self.source.block(rows, columns, self.precision).to(self.place)

    def _blocks(self) -> Iterator[tuple[slice, Float[Tensor, "block columns"]]]:
        for block in row_slices(*self.shape):
            yield block, self._tile(block, slice(None))

    def _matmul(self, x: Tensor) -> Tensor:
        if self._keeps_table:
            return self._table @ x
        product = x.new_empty(self.shape[0], x.shape[1])
        for block, values in self._blocks():
            product[block] = values @ x
        return product

    def _rmatmul(self, x: Tensor) -> Tensor:
        if self._keeps_table:
            return self._table.T @ x
        product = x.new_zeros(self.shape[1], x.shape[1])
        for block, values in self._blocks():
            product += values.T @ x[block]
        return product

    def _tile(self, rows: slice, columns: slice) -> Float[Tensor, "tile_rows tile_columns"]:
        if self._keeps_table:
            return self._table[rows, columns]
        return self._block(self.rows[rows], self.columns[columns])

    def _select(self, rows: Index, columns: Index) -> "RowBlocks":
        chosen = self.rows[rows.cpu()], self.columns[columns.cpu()]
        return RowBlocks(self.source, *chosen, self.precision, self.place)

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return type(self)(self.source, self.rows, self.columns, dtype, device)
