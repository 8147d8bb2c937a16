"""Kernels of a field: how values compare, and what a missing one means."""

import abc
import dataclasses
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal, TypeAlias, final, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selip_core.similarity.kernels.algebra import FindingKernel, LeafValues

Codes: TypeAlias = Int[Tensor, "*pairs"]
"""Positions of values among the distinct values of a field; -1 where the field is missing."""

Missing = Literal["equal", "nothing", "neutral", "leave_out"]
"""What a pair with a missing value is worth:

- ``"equal"``: 1 if both findings lack the field, 0 if one does: missing is a value of its own;
- ``"nothing"``: 0, also if both lack it;
- ``"neutral"``: 1, so that a product is what its other factors say;
- ``"leave_out"``: the term is left out of the sum that it stands in, and the others count more.
"""


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


@dataclass(frozen=True)
class FieldKernel(FindingKernel):
    """A kernel of one field; equal values agree (1).

    To add one, derive from it with ``prepare`` (once for all values) and ``different`` (for pairs).

    Args:
        field: The field to read.
        missing: What a pair with a missing value is worth, see :data:`Missing`.
    """

    field: str
    _: KW_ONLY
    missing: Missing = "equal"

    def __post_init__(self) -> None:
        if self.missing not in get_args(Missing):
            raise ValueError(f"missing must be one of {get_args(Missing)}, got {self.missing!r}")

    @abc.abstractmethod
    def prepare(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return the tensors by which these distinct values are compared."""

    @abc.abstractmethod
    def different(
        self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype
    ) -> Float[Tensor, "*pairs"]:
        """Return the similarity of values by their codes (none missing), with broadcasting.

        What it gives for equal codes is not used.
        """

    def read(self, values: Sequence[str]) -> FieldValues:
        """Return the values, ready to be compared."""
        return FieldValues(values, self.prepare(values) if values else {})

    def compare(
        self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype = torch.float64
    ) -> Float[Tensor, "*pairs"]:
        """Return the similarity by codes, with broadcasting; NaN where it is to be left out."""
        equal = a == b
        similarity = equal.to(dtype)
        if values.strings:
            different = self.different(values, a.clamp(min=0), b.clamp(min=0), dtype)
            similarity = torch.where(equal, 1, different)
        both = (a >= 0) & (b >= 0)
        if bool(both.all()):
            return similarity
        return torch.where(both, similarity, self._of_missing(equal, dtype))

    def _of_missing(self, equal: Tensor, dtype: torch.dtype) -> Tensor:
        if self.missing == "equal":
            return equal.to(dtype)
        worth = {"nothing": 0.0, "neutral": 1.0, "leave_out": torch.nan}[self.missing]
        return torch.full((), worth, dtype=dtype)

    @property
    def fields(self) -> tuple[str, ...]:
        """The field; several where their words are joined."""
        return (self.field,)

    @property
    def parts(self) -> tuple[FindingKernel, ...]:
        """None: it reads a field."""
        return ()

    @property
    def leaves(self) -> "tuple[FieldKernel, ...]":
        """Itself."""
        return (self,)

    @property
    def largest(self) -> float:
        """1."""
        return 1.0

    @property
    def can_be_left_out(self) -> bool:
        """Whether a missing field is left out."""
        return self.missing == "leave_out"

    def combine(self, values: LeafValues) -> Tensor:
        """Return its own values."""
        return values(self)

    def __str__(self) -> str:
        missing = "" if self.missing == "equal" else f", missing={self.missing!r}"
        return f"{type(self).__name__.lower()}({', '.join(self._arguments())}{missing})"

    def _arguments(self) -> list[str]:
        """Return the arguments as they are written; whoever has more than the field adds them."""
        return [repr(self.field)]
