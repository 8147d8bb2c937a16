"""Equal values of a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from selip_core.similarity.kernels.algebra import Codes, Compare, FieldKernel


@final
@dataclass(frozen=True)
class Exact(FieldKernel):
    """1 where the values are equal, else 0."""

    def table(self, values: Sequence[str]) -> Compare:
        """Return 0 for all values: they are different."""

        def nothing(a: Codes, b: Codes) -> Tensor:
            return torch.zeros((), dtype=torch.float64)

        return nothing


def exact(field: str) -> Exact:
    """Return the kernel that is 1 where two findings have equal values of a field, else 0.

    Example:
        >>> exact("site").fields
        ('site',)
    """
    return Exact(field)
