"""Fuzzy similarity of the strings of a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.field import Codes, FieldValues, Missing
from selip_core.similarity.kernels.table import TableKernel

_PERCENT = 100.0


@final
@dataclass(frozen=True)
class Fuzzy(TableKernel):
    """A scorer of ``rapidfuzz.fuzz``, scaled from percent to ``[0, 1]`` and made symmetric."""

    scorer: str = "ratio"

    def score(self, rows: Sequence[str], columns: Sequence[str]) -> Float[Tensor, "rows columns"]:
        """Return the percentages, averaged over both orders."""
        import numpy
        from rapidfuzz import fuzz, process

        scorer = getattr(fuzz, self.scorer)
        forth = process.cdist(rows, columns, scorer=scorer, dtype=numpy.float32, workers=-1)
        back = process.cdist(columns, rows, scorer=scorer, dtype=numpy.float32, workers=-1)
        return torch.from_numpy((forth + back.T) / 2)

    def score_pairs(self, left: Sequence[str], right: Sequence[str]) -> Float[Tensor, " pairs"]:
        """Return the percentages, averaged over both orders."""
        import numpy
        from rapidfuzz import fuzz, process

        scorer = getattr(fuzz, self.scorer)
        forth = process.cpdist(left, right, scorer=scorer, dtype=numpy.float32, workers=-1)
        back = process.cpdist(right, left, scorer=scorer, dtype=numpy.float32, workers=-1)
        return torch.from_numpy((forth + back) / 2)

    def similarity(
        self, entries: Tensor, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype
    ) -> Tensor:
        """Return the share of 100 percent."""
        return entries.to(dtype) / _PERCENT


def fuzzy(field: str, scorer: str = "ratio", *, missing: Missing = "equal") -> Fuzzy:
    """Return the kernel that compares a field by a fuzzy string scorer of rapidfuzz.

    Args:
        field: The field to read.
        scorer: A function of ``rapidfuzz.fuzz``: ``"ratio"``, ``"partial_ratio"``,
            ``"token_set_ratio"``, ``"token_sort_ratio"``, ``"WRatio"`` and others. A scorer that is
            not symmetric is averaged over both orders.
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.kernels.Missing`.

    Raises:
        ValueError: If rapidfuzz has no such scorer.

    Example:
        >>> kernel = fuzzy("site")
        >>> values = kernel.read(["frontal lobe", "frontal lobes"])
        >>> kernel.compare(values, torch.tensor(0), torch.tensor(1))
        tensor(0.9600, dtype=torch.float64)
    """
    from rapidfuzz import fuzz

    scorers = sorted(name for name in dir(fuzz) if name.lower().endswith("ratio"))
    if scorer not in scorers:
        raise ValueError(f"scorer must be one of rapidfuzz.fuzz {scorers}, got {scorer!r}")
    return Fuzzy(field, scorer, missing=missing)
