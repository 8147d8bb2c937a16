"""Fuzzy similarity of the strings of a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from selip_core.similarity.kernels.algebra import Codes, Compare, FieldKernel

_PERCENT = 100.0


@final
@dataclass(frozen=True)
class Fuzzy(FieldKernel):
    """A scorer of ``rapidfuzz.fuzz``, scaled from percent to ``[0, 1]`` and made symmetric."""

    scorer: str

    def table(self, values: Sequence[str]) -> Compare:
        """Return the comparison by one table of all values."""
        import numpy
        from rapidfuzz import fuzz, process

        scores = process.cdist(
            values, values, scorer=getattr(fuzz, self.scorer), dtype=numpy.float32, workers=-1
        )
        percent = torch.from_numpy(scores)
        ratios = (percent + percent.T) / (2 * _PERCENT)

        def look_up(a: Codes, b: Codes) -> Tensor:
            return ratios[a, b].to(torch.float64)

        return look_up


def fuzzy(field: str, scorer: str = "ratio") -> Fuzzy:
    """Return the kernel that compares a field by a fuzzy string scorer of rapidfuzz.

    Args:
        field: The field to read.
        scorer: A function of ``rapidfuzz.fuzz``: ``"ratio"``, ``"partial_ratio"``,
            ``"token_set_ratio"``, ``"token_sort_ratio"``, ``"WRatio"`` and others. A scorer that is
            not symmetric is averaged over both orders.

    Raises:
        ValueError: If rapidfuzz has no such scorer.

    Example:
        >>> compare = fuzzy("site").compare(["frontal lobe", "frontal lobes"])
        >>> compare(torch.tensor(0), torch.tensor(1))
        tensor(0.9600, dtype=torch.float64)
    """
    from rapidfuzz import fuzz

    scorers = sorted(name for name in dir(fuzz) if name.lower().endswith("ratio"))
    if scorer not in scorers:
        raise ValueError(f"scorer must be one of rapidfuzz.fuzz {scorers}, got {scorer!r}")
    return Fuzzy(field, scorer)
