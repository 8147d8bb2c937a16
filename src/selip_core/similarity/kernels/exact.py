"""Equal values of a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from selip_core.similarity.kernels.field import FieldKernel, Missing, equal_as
from selip_core.similarity.kernels.values import Codes, FieldValues


@final
@dataclass(frozen=True)
class Exact(FieldKernel):
    """1 where the values are equal, else 0."""

    def prepare(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return nothing: codes are enough."""
        return {}

    def known(self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype) -> Tensor:
        """Return whether codes are equal."""
        return equal_as(dtype, a, b)

    def compare(
        self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Return the similarity by codes, with broadcasting; NaN where it is to be left out."""
        if self.missing == "equal":  # -1 is a code like any other
            return self.known(values, a, b, dtype)
        return super().compare(values, a, b, dtype)


def exact(field: str | tuple[str, ...], *, missing: Missing = "equal") -> Exact:
    """Return the kernel that is 1 where two findings have equal values of a field, else 0.

    Args:
        field: The field to read; or several as a tuple, whose words are joined.
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.Missing`.

    Example:
        >>> print(exact("site"), exact("site", missing="nothing"))
        exact('site') exact('site', missing='nothing')
    """
    return Exact(field, missing=missing)
