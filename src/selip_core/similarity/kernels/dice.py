"""Dice similarity of the sets of characters of a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.algebra import Codes, Compare, FieldKernel


@final
@dataclass(frozen=True)
class Dice(FieldKernel):
    """``2 |A & B| / (|A| + |B|)`` of the sets of characters."""

    def table(self, values: Sequence[str]) -> Compare:
        """Return the comparison by one table of all values, from one product of multi-hot rows."""
        sets = _multi_hot(values)
        sizes = sets.sum(1)
        # Counts are small integers, exact in float32; the ratio is taken in float64.
        both = (sets @ sets.T).to(torch.float64)
        # At least 1: only the empty string has no characters, and it differs from all others.
        ratios = 2 * both / (sizes[:, None] + sizes[None, :]).clamp(min=1).to(torch.float64)

        def look_up(a: Codes, b: Codes) -> Tensor:
            return ratios[a, b]

        return look_up


def _multi_hot(values: Sequence[str]) -> Float[Tensor, "values characters"]:
    positions = {character: i for i, character in enumerate(sorted(set("".join(values))))}
    rows = torch.zeros(len(values), len(positions))
    for row, value in zip(rows, values, strict=True):
        row[[positions[character] for character in set(value)]] = 1
    return rows


def dice(field: str) -> Dice:
    """Return the kernel that compares a field by the Dice similarity of its character sets.

    ``2 |A & B| / (|A| + |B|)``, in ``[0, 1]``.

    Example:
        >>> compare = dice("text").compare(["abc", "bcd"])
        >>> compare(torch.tensor(0), torch.tensor(1))
        tensor(0.6667, dtype=torch.float64)

    Source:
        arXiv 2503.19801: there of the characters of site and description.
    """
    return Dice(field)
