"""The values of a field, counted and ready to be compared."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from jaxtyping import Int
from torch import Tensor

Codes: TypeAlias = Int[Tensor, "*pairs"]
"""Positions of values among the distinct values of a field; -1 where the field is missing."""


@final
@dataclass(frozen=True, eq=False)
class FieldValues:
    """The distinct values of a field, and what a kernel has made of them for comparing.

    Attributes:
        strings: Distinct, normalised, none missing.
        tensors: By name, such as a table between the values; they are saved with the similarity.
    """

    strings: Sequence[str]
    tensors: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())
