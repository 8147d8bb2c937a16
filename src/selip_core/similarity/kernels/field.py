"""Kernels of a field: how values compare, and what a missing one means."""

import abc
import dataclasses
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.algebra import LeafKernel
from selip_core.similarity.kernels.values import Codes, FieldValues

Missing = Literal["equal", "nothing", "neutral", "leave_out"]
"""What a pair with a missing value is worth:

- ``"equal"``: 1 if both findings lack the field, 0 if one does: missing is a value of its own;
- ``"nothing"``: 0, also if both lack it;
- ``"neutral"``: 1, so that a product is what its other factors say;
- ``"leave_out"``: the term is left out of the sum that it is part of, and the others count more;
  a product is that of its other factors. A pair of which every part is left out has 0, whether or
  not the findings are negated.
"""


@dataclass(frozen=True)
class FieldKernel(LeafKernel):
    """A kernel of the values of a field; equal values agree (1).

    To add one, derive a frozen dataclass with ``prepare`` (once for all values) and ``known``
    (for pairs); its arguments are numbers, strings or tuples of them.

    Args:
        field: The field to read; or several as a tuple, whose words are joined by spaces and
            which are missing if all are (``negated`` never is, and does not count).
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.Missing`.

    Raises:
        ValueError: If an argument is none of these.
    """

    field: str | tuple[str, ...]
    _: KW_ONLY
    missing: Missing = "equal"

    def __post_init__(self) -> None:
        names: Sequence[object] = self.fields
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError(
                "field must be the name of a field of findings, such as 'site', or a tuple of "
                f"names, got {self.field!r}"
            )
        if self.missing not in get_args(Missing):
            raise ValueError(f"missing must be one of {get_args(Missing)}, got {self.missing!r}")

    @abc.abstractmethod
    def prepare(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return the tensors by which these distinct values are compared."""

    @abc.abstractmethod
    def known(
        self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype
    ) -> Float[Tensor, "*pairs"]:
        """Return the similarity of values by their codes, none missing, with broadcasting.

        In ``[0, 1]``, symmetric, and 1 for equal codes, as a new tensor: it is written into.
        """

    def read(self, values: Sequence[str]) -> FieldValues:
        """Return the values, ready to be compared."""
        return FieldValues(values, self.prepare(values) if values else {})

    def compare(
        self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype = torch.float64
    ) -> Float[Tensor, "*pairs"]:
        """Return the similarity by codes, with broadcasting; NaN where it is to be left out."""
        # Codes are few and pairs are many: whether any is missing is asked of the codes.
        if not bool((a < 0).any() or (b < 0).any()):
            return self.known(values, a, b, dtype)
        if values.strings:
            similarity = self.known(values, a.clamp(min=0), b.clamp(min=0), dtype)
        else:
            similarity = equal_as(dtype, a, b)
        if self.missing in ("neutral", "leave_out"):
            worth = 1.0 if self.missing == "neutral" else torch.nan
            return similarity.masked_fill_((a < 0) | (b < 0), worth)
        # Products with vectors cost less than masks of pairs.
        similarity.mul_((a >= 0).to(dtype)).mul_((b >= 0).to(dtype))
        if self.missing == "equal":
            similarity.addcmul_((a < 0).to(dtype), (b < 0).to(dtype))
        return similarity

    @property
    def fields(self) -> tuple[str, ...]:
        """The field; several where their words are joined."""
        return self.field if isinstance(self.field, tuple) else (self.field,)

    @property
    def largest(self) -> float:
        """1."""
        return 1.0

    @property
    def can_be_left_out(self) -> bool:
        """Whether a missing field is left out."""
        return self.missing == "leave_out"

    def __str__(self) -> str:
        arguments = [repr(self.field)]
        for argument in sorted(dataclasses.fields(self), key=lambda own: own.name == "missing"):
            value = getattr(self, argument.name)
            if argument.name != "field" and value != argument.default:
                arguments.append(f"{argument.name}={self._written(value)}")
        return f"{type(self).__name__.lower()}({', '.join(arguments)})"

    def _written(self, value: Any) -> str:
        """Return how the value of an argument is written."""
        return repr(value)


def equal_as(dtype: torch.dtype, a: Codes, b: Codes) -> Float[Tensor, "*pairs"]:
    """Return 1 where numbers are equal, else 0; not by way of bool, which takes longer.

    Example:
        >>> equal_as(torch.float32, torch.tensor([1, 2]), torch.tensor([1, 3]))
        tensor([1., 0.])
    """
    return torch.eq(a, b, out=torch.empty(0, dtype=dtype, device=a.device))


def qualified_name(value: Any) -> str:
    """Return the module and name of a class or function, or those of an object's class.

    Example:
        >>> qualified_name(FieldValues(["pons"]))
        'selip_core.similarity.kernels.values.FieldValues'
    """
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
