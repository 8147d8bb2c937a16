"""Dice similarity of the sets of characters, or of n-grams, of a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from selip_core.similarity.kernels.field import Codes, FieldValues, Missing
from selip_core.similarity.kernels.table import TableKernel

_SMALLEST_FIRST = (torch.uint8, torch.int16, torch.int32)


@final
@dataclass(frozen=True)
class Dice(TableKernel):
    """``2 |A & B| / (|A| + |B|)`` of the sets of n-grams; a table holds ``|A & B|``."""

    ngram: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ngram < 1:
            raise ValueError(f"ngram must be at least 1, got {self.ngram}")

    def prepare(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return the table of common n-grams, and how many each value has."""
        sizes = torch.tensor([len(self._set(value)) for value in values])
        return {**super().prepare(values), "sizes": sizes}

    def score(self, rows: Sequence[str], columns: Sequence[str]) -> Int[Tensor, "rows columns"]:
        """Return the number of common n-grams, by a product of multi-hot matrices."""
        sets = [self._set(value) for value in columns]
        known = {gram: i for i, gram in enumerate(dict.fromkeys(g for s in sets for g in s))}
        # Counts are small integers, exact in float32.
        multi_hot = torch.zeros(len(known), len(rows))
        for place, value in enumerate(rows):
            shared = [known[gram] for gram in self._set(value) if gram in known]
            multi_hot[shared, place] = 1
        grams = torch.tensor([known[gram] for s in sets for gram in s], dtype=torch.int64)
        offsets = torch.tensor([0, *map(len, sets)]).cumsum(0)
        counts = embedding_bag(grams, multi_hot, offsets, mode="sum", include_last_offset=True)
        return _smallest(counts.T.contiguous())

    def score_pairs(self, left: Sequence[str], right: Sequence[str]) -> Int[Tensor, " pairs"]:
        """Return the number of common n-grams."""
        pairs = zip(map(self._set, left), map(self._set, right), strict=True)
        return torch.tensor([len(a & b) for a, b in pairs], dtype=torch.int32)

    def similarity(
        self, entries: Tensor, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype
    ) -> Tensor:
        """Return ``2 |A & B| / (|A| + |B|)``; 0 where both sets are empty."""
        sizes = values.tensors["sizes"]
        return 2 * entries.to(dtype) / (sizes[a] + sizes[b]).clamp(min=1)

    def _set(self, value: str) -> frozenset[str]:
        starts = range(len(value) - self.ngram + 1)
        return frozenset(value[start : start + self.ngram] for start in starts)


def _smallest(counts: Tensor) -> Tensor:
    largest = counts.max() if counts.numel() else 0
    return counts.to(next(dtype for dtype in _SMALLEST_FIRST if torch.iinfo(dtype).max >= largest))


def dice(field: str, ngram: int = 1, *, missing: Missing = "equal") -> Dice:
    """Return the kernel that compares a field by the Dice similarity of its sets of n-grams.

    ``2 |A & B| / (|A| + |B|)``, in ``[0, 1]``.

    Args:
        field: The field to read.
        ngram: Characters in a row that make an element of the set; 1: single characters.
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.kernels.Missing`.

    Example:
        >>> kernel = dice("text")
        >>> values = kernel.read(["abc", "bcd"])
        >>> kernel.compare(values, torch.tensor(0), torch.tensor(1))
        tensor(0.6667, dtype=torch.float64)

    Source:
        arXiv 2503.19801: there of the characters of site and description.
    """
    return Dice(field, ngram, missing=missing)
