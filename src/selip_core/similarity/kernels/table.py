"""Kernels of strings that are compared pair by pair, once."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from selip_core.similarity.kernels.field import Codes, FieldKernel, FieldValues

LARGEST_TABLE = 20_000
"""Distinct values of a field up to which a table between them is kept."""

_BLOCK_VALUES = 2**24


@dataclass(frozen=True)
class TableKernel(FieldKernel):
    """A kernel with a table between the distinct values of its field.

    The table is built once, in blocks of rows, in the smallest dtype that holds its entries. A
    field with more than :data:`LARGEST_TABLE` values gets none: there the values of each batch are
    scored when the batch is made.
    """

    @abc.abstractmethod
    def score(self, rows: Sequence[str], columns: Sequence[str]) -> Shaped[Tensor, "rows columns"]:
        """Return the entries for these values, in the smallest dtype that holds them."""

    @abc.abstractmethod
    def score_pairs(self, left: Sequence[str], right: Sequence[str]) -> Shaped[Tensor, " pairs"]:
        """Return the entries for pairs of values, one after the other."""

    @abc.abstractmethod
    def similarity(
        self, entries: Tensor, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype
    ) -> Tensor:
        """Return the similarity that entries of the table stand for."""

    def prepare(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return the table, or nothing where it would be too large."""
        if len(values) > LARGEST_TABLE:
            return {}
        height = max(1, _BLOCK_VALUES // len(values))
        blocks = (
            self.score(values[start : start + height], values)
            for start in range(0, len(values), height)
        )
        first = next(blocks)
        table = first.new_empty(len(values), len(values))
        table[:height] = first
        for number, block in enumerate(blocks, 1):
            table[number * height : (number + 1) * height] = block
        return {"table": table}

    def different(self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype) -> Tensor:
        """Return the similarities from the table, or from scores of just these values."""
        table = values.tensors.get("table")
        entries = self._scored(values, a, b) if table is None else table[a, b]
        return self.similarity(entries, values, a, b, dtype)

    def _scored(self, values: FieldValues, a: Codes, b: Codes) -> Tensor:
        if a.shape == b.shape:
            return self._scored_pairs(values, a, b)
        rows, row_places = torch.unique(a, return_inverse=True)
        columns, column_places = torch.unique(b, return_inverse=True)
        strings = values.strings
        entries = self.score(
            [strings[i] for i in rows.tolist()], [strings[i] for i in columns.tolist()]
        )
        return entries[row_places, column_places]

    def _scored_pairs(self, values: FieldValues, a: Codes, b: Codes) -> Tensor:
        pairs, places = torch.unique(torch.stack([a, b]), dim=1, return_inverse=True)
        left, right = ([values.strings[i] for i in codes.tolist()] for codes in pairs)
        return self.score_pairs(left, right)[places]
