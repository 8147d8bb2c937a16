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
        encoder: What tells the encoder that made the tensors from others; ``None`` where none did.
    """

    strings: Sequence[str]
    tensors: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    encoder: str | None = None

    def require_rows(self, name: str, *shape: int) -> None:
        """Refuse a tensor that is missing, or whose shape does not begin like this.

        Raises:
            ValueError: If so.
        """
        tensor = self.tensors.get(name)
        got = None if tensor is None else tuple(tensor.shape)
        if got is None or got[: len(shape)] != shape:
            raise ValueError(
                f"the tensor {name!r} must have a row for each of {len(self.strings)} values, got "
                + ("none" if got is None else f"shape {got}")
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())
