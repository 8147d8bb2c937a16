"""Dice similarity of the sets of characters, or of n-grams, of a field."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from selip_core.similarity.kernels.field import Missing
from selip_core.similarity.kernels.table import TableKernel
from selip_core.similarity.kernels.values import Codes, FieldValues
from selip_core.similarity.operators import Index
from selip_core.similarity.operators.sparse import row_entries
from selip_core.similarity.packed_strings import check_offsets

_SMALLEST_FIRST = (torch.uint8, torch.int16, torch.int32)
_MOST_VALUES = 2**24


@final
@dataclass(frozen=True)
class Dice(TableKernel):
    """``2 |A & B| / (|A| + |B|)`` of the sets of n-grams; a table holds ``|A & B|``."""

    ngram: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.ngram, Integral) or self.ngram < 1:
            raise ValueError(f"ngram must be a whole number of at least 1, got {self.ngram!r}")

    def encode(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return the n-grams of each value as ascending numbers, and where each value begins."""
        numbers: dict[str | int, int] = {}
        grams, offsets = array("q"), array("q", [0])
        for place, value in enumerate(values):
            starts = range(len(value) - self.ngram + 1)
            own: set[str | int] = {value[start : start + self.ngram] for start in starts}
            # A value that is too short has one element that no other has: it is like itself alone.
            own = own or {place}
            grams.extend(sorted(numbers.setdefault(gram, len(numbers)) for gram in own))
            offsets.append(len(grams))
        starts_of_sets = torch.tensor(offsets, dtype=torch.int64)
        return {
            "grams": torch.tensor(grams, dtype=torch.int32),
            "offsets": starts_of_sets,
            "sizes": starts_of_sets.diff(),
        }

    def with_table(self, values: FieldValues) -> dict[str, Tensor]:
        """Return the table of common n-grams, and how many each value has."""
        return {**super().with_table(values), "sizes": values.tensors["sizes"]}

    def check(self, values: FieldValues) -> None:
        """Look at the tensors of values that were read from a file; there may be no table."""
        if "table" in values.tensors or not values.strings:
            super().check(values)
            return
        values.require_rows("sizes", len(values.strings))
        values.require_rows("offsets", len(values.strings) + 1)
        values.require_rows("grams")
        check_offsets(values.tensors["offsets"], values.tensors["grams"].shape[0], "n-grams")

    def entry_dtype(self, values: FieldValues) -> torch.dtype:
        """Return the dtype that holds the size of the largest set."""
        largest = int(values.tensors["sizes"].max())
        return next(dtype for dtype in _SMALLEST_FIRST if torch.iinfo(dtype).max >= largest)

    def score(
        self, values: FieldValues, rows: Index, columns: Index
    ) -> Float[Tensor, "rows columns"]:
        """Return the numbers of common n-grams, by a product of multi-hot matrices."""
        row_of_gram, grams = _sets(values, rows)
        known, places = torch.unique(grams, return_inverse=True)
        if known.shape[0] * rows.shape[0] > _MOST_VALUES and rows.shape[0] > 1:
            return torch.cat([self.score(values, half, columns) for half in rows.tensor_split(2)])
        # The last row is that of the n-grams that none of the rows has.
        multi_hot = torch.zeros(known.shape[0] + 1, rows.shape[0])
        multi_hot[places, row_of_gram] = 1
        offsets, entries = row_entries(values.tensors["offsets"], columns)
        others = _find(known, values.tensors["grams"][entries].long())
        # Sums of ones: float32 is exact up to 2 ** 24.
        return embedding_bag(others, multi_hot, offsets, mode="sum", include_last_offset=True).T

    def score_pairs(self, values: FieldValues, a: Index, b: Index) -> Int[Tensor, " pairs"]:
        """Return the numbers of common n-grams."""
        (left_pairs, left), (right_pairs, right) = _sets(values, a), _sets(values, b)
        if left.shape[0] + right.shape[0] > _MOST_VALUES and a.shape[0] > 1:
            halves = zip(a.tensor_split(2), b.tensor_split(2), strict=True)
            return torch.cat([self.score_pairs(values, *half) for half in halves])
        left, right = left_pairs * 2**32 + left, right_pairs * 2**32 + right
        is_common = _find(left, right) < left.shape[0]
        return torch.bincount(right_pairs[is_common], minlength=a.shape[0])

    def similarity(
        self, entries: Tensor, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype
    ) -> Tensor:
        """Return ``|A & B| / (|A| / 2 + |B| / 2)``."""
        halves = values.tensors["sizes"].to(dtype) / 2
        return entries.div_(halves[a] + halves[b])


def dice(field: str | tuple[str, ...], ngram: int = 1, *, missing: Missing = "equal") -> Dice:
    """Return the kernel that compares a field by the Dice similarity of its sets of n-grams.

    ``2 |A & B| / (|A| + |B|)``, in ``[0, 1]``, exact. A value shorter than ``ngram`` has no n-gram:
    it agrees with itself (1) and with no other value (0).

    Args:
        field: The field to read; or several as a tuple, whose words are joined.
        ngram: Characters (Unicode code points) in a row that make an element of the set; 1: single
            characters.
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.Missing`.

    Raises:
        ValueError: If ``ngram`` is not a positive whole number.

    Example:
        >>> kernel = dice("text")
        >>> values = kernel.read(["abc", "bcd"])
        >>> kernel.compare(values, torch.tensor(0), torch.tensor(1))
        tensor(0.6667, dtype=torch.float64)

    Source:
        arXiv 2503.19801: there of the characters of site and description.
    """
    return Dice(field, ngram, missing=missing)


def _sets(values: FieldValues, codes: Index) -> tuple[Index, Index]:
    """Return the n-grams of some values, and for each the place of its value among these."""
    offsets, entries = row_entries(values.tensors["offsets"], codes)
    return torch.repeat_interleave(offsets.diff()), values.tensors["grams"][entries].long()


def _find(ascending: Index, wanted: Index) -> Index:
    """Return where numbers stand in an ascending vector; its length for one that is not in it."""
    places = torch.searchsorted(ascending, wanted)
    ended = torch.cat([ascending, ascending.new_full((1,), -1)])
    return torch.where(ended[places] == wanted, places, ascending.shape[0])
