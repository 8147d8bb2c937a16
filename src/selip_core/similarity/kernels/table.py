"""Kernels of strings that are compared pair by pair, once."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from selip_core.similarity.kernels.field import FieldKernel
from selip_core.similarity.kernels.values import Codes, FieldValues
from selip_core.similarity.operators import Index

LARGEST_TABLE = 20_000
"""Distinct values of a field up to which a table between them is kept."""

_BLOCK_VALUES = 2**23
_WIDEST_COPY = 16


@dataclass(frozen=True)
class TableKernel(FieldKernel):
    """A kernel with a table between the distinct values of its field.

    The table is built once, in blocks of rows, in a dtype that holds all its entries. A field with
    more than :data:`LARGEST_TABLE` values gets none: there the values of each batch are scored when
    the batch is made.
    """

    @abc.abstractmethod
    def encode(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return what scoring needs besides the strings."""

    @abc.abstractmethod
    def entry_dtype(self, values: FieldValues) -> torch.dtype:
        """Return the smallest dtype that holds the entries of all pairs of these values."""

    @abc.abstractmethod
    def score(
        self, values: FieldValues, rows: Index, columns: Index
    ) -> Shaped[Tensor, "rows columns"]:
        """Return the entries for values by their codes, symmetric in rows and columns.

        Those of equal codes are such that the similarity is 1.
        """

    @abc.abstractmethod
    def score_pairs(self, values: FieldValues, a: Index, b: Index) -> Shaped[Tensor, " pairs"]:
        """Return the entries for pairs of values, one after the other, as :meth:`score` does."""

    @abc.abstractmethod
    def similarity(
        self,
        entries: Float[Tensor, "*pairs"],
        values: FieldValues,
        a: Codes,
        b: Codes,
        dtype: torch.dtype,
    ) -> Float[Tensor, "*pairs"]:
        """Return the similarity that entries of the table stand for; it may write into them."""

    def prepare(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return the table; where it would be too large, what scoring needs."""
        encoded = self.encode(values)
        if len(values) > LARGEST_TABLE:
            return encoded
        return self.with_table(FieldValues(values, encoded))

    def with_table(self, values: FieldValues) -> dict[str, Tensor]:
        """Return the table, and whatever else :meth:`similarity` needs."""
        count = len(values.strings)
        table = torch.empty(count, count, dtype=self.entry_dtype(values))
        codes = torch.arange(count)
        height = max(1, _BLOCK_VALUES // count)
        for start in range(0, count, height):
            stop = start + height
            # The table is symmetric: what is above the diagonal is scored, and mirrored below.
            block = self.score(values, codes[start:stop], codes[start:]).to(table.dtype)
            table[start:stop, start:] = block
            table[stop:, start:stop] = block[:, height:].T
        return {"table": table}

    def check(self, values: FieldValues) -> None:
        """Look at the tensors of values that were read from a file; a table must be square."""
        super().check(values)
        if "table" in values.tensors:
            values.require_rows("table", *[len(values.strings)] * 2)

    def known(self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype) -> Tensor:
        """Return the similarities from the table, or from scores of just these values."""
        table = values.tensors.get("table")
        if table is None:
            entries = self._scored(values, a, b).to(dtype)
        else:
            entries = _entries(table, a, b, dtype)
        return self.similarity(entries, values, a, b, dtype)

    def _scored(self, values: FieldValues, a: Codes, b: Codes) -> Tensor:
        if a.shape == b.shape:
            return self._scored_pairs(values, a, b)
        rows, row_places = torch.unique(a, return_inverse=True)
        columns, column_places = torch.unique(b, return_inverse=True)
        return self.score(values, rows, columns)[row_places, column_places]

    def _scored_pairs(self, values: FieldValues, a: Codes, b: Codes) -> Tensor:
        count = len(values.strings)
        pairs, places = torch.unique(a.long() * count + b, return_inverse=True)
        left, right = pairs.div(count, rounding_mode="floor"), pairs % count
        return self.score_pairs(values, left, right)[places]


def _entries(table: Tensor, a: Codes, b: Codes, dtype: torch.dtype) -> Tensor:
    """Return ``table[a, b]``.

    Of a block, whole rows and then columns: several times faster than entry by entry, if the rows
    are not much longer than what is needed of them.
    """
    is_block = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] == 1
    if not is_block or table.shape[1] > _WIDEST_COPY * b.shape[1]:
        return table[a, b].to(dtype)
    return table.index_select(0, a[:, 0]).to(dtype).index_select(1, b[0])
