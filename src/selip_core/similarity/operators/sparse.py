"""A similarity of which most values are 0."""

from dataclasses import dataclass, field
from typing import Self, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from selip_core.similarity.operators.base import Index, SimilarityOperator, computing_dtype


@final
@dataclass(frozen=True, eq=False)
class Sparse(SimilarityOperator):
    """``S`` by its entries, row after row (CSR), in ``O(N + entries)`` memory.

    Row ``i`` holds ``values[offsets[i]:offsets[i + 1]]`` at the columns of the same places, in any
    order; entries at one place add up.

    Args:
        offsets: int64, where each row begins; one more than there are rows.
        columns: int64, the column of each entry, below ``width``.
        values: Not negative; half precision is raised to float32.
        width: The number of columns.

    Raises:
        ValueError: If the parts do not fit each other.

    Example:
        >>> offsets, columns = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1])
        >>> Sparse(offsets, columns, torch.tensor([1.0, 0.5, 1.0]), width=3).dense()
        tensor([[1.0000, 0.0000, 0.5000],
                [0.0000, 1.0000, 0.0000]])
    """

    offsets: Int[Tensor, " rows_and_one"]
    columns: Int[Tensor, " entries"]
    values: Float[Tensor, " entries"]
    width: int
    _transposed: "Sparse | None" = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        offsets, columns, values = self.offsets, self.columns, self.values
        shapes = tuple(tuple(part.shape) for part in (offsets, columns, values))
        if (
            offsets.ndim != 1
            or not len(offsets)
            or columns.shape != values.shape
            or values.ndim != 1
        ):
            raise ValueError(
                "offsets, columns and values must be vectors, the last two of one length, "
                f"got shapes {shapes}"
            )
        if offsets.dtype != torch.int64 or columns.dtype != torch.int64:
            raise ValueError(
                f"offsets and columns must be int64, got {offsets.dtype} and {columns.dtype}"
            )
        if not offsets.device == columns.device == values.device:
            raise ValueError("offsets, columns and values must lie on one device")
        object.__setattr__(self, "values", values.to(computing_dtype(values, "values")))

    @classmethod
    def of_table(cls, table: Float[Tensor, "rows columns"]) -> Self:
        """Return the entries of a table that are not 0."""
        rows, columns = table.nonzero(as_tuple=True)
        return cls(row_offsets(rows, table.shape[0]), columns, table[rows, columns], table.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.offsets.shape[0] - 1, self.width

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        """Where the entries lie."""
        return self.values.device

    @property
    def nbytes(self) -> int:
        """Bytes of the entries; the transpose, made at the first ``rmatmul``, takes as many."""
        return self.offsets.nbytes + self.columns.nbytes + self.values.nbytes

    @property
    def transposed(self) -> "Sparse":
        """The entries column after column."""
        # Kept by hand: torch.compile cannot take the lock of functools.cached_property.
        if self._transposed is not None:
            return self._transposed
        order = self.columns.argsort(stable=True)
        offsets = row_offsets(self.columns[order], self.width)
        transposed = Sparse(offsets, self._rows()[order], self.values[order], self.shape[0])
        object.__setattr__(self, "_transposed", transposed)
        return transposed

    def restricted(self, rows: Index) -> "tuple[Sparse, Index]":
        """Return these rows over the columns that they use, and which columns those are."""
        offsets, entries = row_entries(self.offsets, rows)
        used, columns = torch.unique(self.columns[entries], return_inverse=True)
        return Sparse(offsets, columns, self.values[entries], used.shape[0]), used

    def scaled_rows(self, factors: Float[Tensor, " rows"]) -> "Sparse":
        """Return each row multiplied by its factor."""
        return Sparse(self.offsets, self.columns, self.values * factors[self._rows()], self.width)

    def _rows(self) -> Index:
        return entry_rows(self.offsets, self.columns.shape[0])

    def _matmul(self, x: Tensor) -> Tensor:
        # A bag of rows with weights is a row of a sparse product, and the fastest that torch has.
        return embedding_bag(
            self.columns,
            x,
            self.offsets,
            mode="sum",
            per_sample_weights=self.values,
            include_last_offset=True,
        )

    def _rmatmul(self, x: Tensor) -> Tensor:
        return self.transposed._matmul(x)

    def _select(self, rows: Index, columns: Index) -> "Sparse":
        offsets, entries = row_entries(self.offsets, rows)
        chosen, order = columns.sort()
        found, values = self.columns[entries], self.values[entries]
        first = torch.searchsorted(chosen, found)
        repeats = torch.searchsorted(chosen, found, right=True) - first
        places = torch.repeat_interleave(entry_rows(offsets, entries.shape[0]), repeats)
        shifts = torch.repeat_interleave(first - (repeats.cumsum(0) - repeats), repeats)
        positions = order[torch.arange(shifts.shape[0], device=self.device) + shifts]
        values = torch.repeat_interleave(values, repeats)
        return Sparse(row_offsets(places, rows.shape[0]), positions, values, columns.shape[0])

    def _tile(self, rows: slice, columns: slice) -> Float[Tensor, "tile_rows tile_columns"]:
        height = torch.arange(self.shape[0], device=self.device)[rows]
        start, stop, _ = columns.indices(self.width)
        offsets, entries = row_entries(self.offsets, height)
        found = self.columns[entries]
        inside = (found >= start) & (found < stop)
        places = entry_rows(offsets, entries.shape[0])[inside], found[inside] - start
        table = self.values.new_zeros(height.shape[0], max(stop - start, 0))
        return table.index_put_(places, self.values[entries][inside], accumulate=True)

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        offsets, columns = self.offsets.to(device), self.columns.to(device)
        return type(self)(offsets, columns, self.values.to(device, dtype), self.width)


def entry_rows(offsets: Int[Tensor, " rows_and_one"], entries: int | None = None) -> Index:
    """Return the row of each entry; where their number is given, no device is asked for it."""
    return torch.repeat_interleave(offsets.diff(), output_size=entries)


def row_entries(
    offsets: Int[Tensor, " rows_and_one"], rows: Index
) -> tuple[Int[Tensor, " rows_and_one"], Index]:
    """Return the offsets of these rows among themselves, and the places of their entries."""
    begins = offsets[rows]
    sizes = offsets[rows + 1] - begins
    chosen = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    shifts = torch.repeat_interleave(begins - chosen[:-1], sizes)
    return chosen, torch.arange(shifts.shape[0], device=offsets.device) + shifts


def row_offsets(sorted_rows: Index, count: int) -> Int[Tensor, " rows_and_one"]:
    """Return where each row begins among entries that are sorted by row."""
    boundaries = torch.arange(count + 1, device=sorted_rows.device)
    return torch.searchsorted(sorted_rows, boundaries)
