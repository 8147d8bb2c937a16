"""Finding kernels and how they compose: ``+``, ``*``, scalars, ``** gamma``."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

Codes: TypeAlias = Int[Tensor, "*pairs"]
"""Positions of values among the distinct values of a field; -1 where the field is missing."""

Compare: TypeAlias = Callable[[Codes, Codes], Float[Tensor, "*pairs"]]
"""Similarity of values by their codes, with broadcasting."""


class FindingKernel(abc.ABC):
    """A symmetric similarity of two findings in ``[0, 1]``, built from the values of their fields.

    Raises:
        ValueError: If a weight is negative or not finite, or a power is not positive.

    Example:
        The kernel of the paper:

        >>> from selip_core.similarity import dice, exact
        >>> kernel = (0.5 * exact("site") + 0.5 * exact("signal")) * dice("text")
        >>> kernel.fields, kernel.largest
        (('site', 'signal', 'text'), 1.0)
    """

    @property
    @abc.abstractmethod
    def parts(self) -> "tuple[FindingKernel, ...]":
        """The kernels it is made of."""

    @property
    @abc.abstractmethod
    def largest(self) -> float:
        """The largest value it can take; at most 1 if it is to serve as a similarity."""

    @abc.abstractmethod
    def combine(
        self, values: Callable[["FieldKernel"], Float[Tensor, "*pairs"]]
    ) -> Float[Tensor, "*pairs"]:
        """Return the kernel of some pairs, given the values of its leaves for these pairs."""

    @property
    def leaves(self) -> tuple["FieldKernel", ...]:
        """The field kernels it is built from, without repeats."""
        return tuple(dict.fromkeys(leaf for part in self.parts for leaf in part.leaves))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it reads."""
        return tuple(dict.fromkeys(leaf.field for leaf in self.leaves))

    def __add__(self, other: object) -> "FindingKernel":
        return Sum(self, other) if isinstance(other, FindingKernel) else NotImplemented

    def __mul__(self, other: "FindingKernel | float") -> "FindingKernel":
        if isinstance(other, FindingKernel):
            return Product(self, other)
        return Scaled(float(other), self)

    def __rmul__(self, other: float) -> "FindingKernel":
        return Scaled(float(other), self)

    def __pow__(self, gamma: float) -> "FindingKernel":
        return Power(self, float(gamma))


@dataclass(frozen=True)
class FieldKernel(FindingKernel):
    """A kernel of one field.

    Equal values agree (1), and so do two findings that both lack the field; if only one lacks it,
    they do not (0).
    """

    field: str

    @abc.abstractmethod
    def table(self, values: Sequence[str]) -> Compare:
        """Return the comparison of different values; they are distinct, normalised, not missing."""

    def compare(self, values: Sequence[str]) -> Compare:
        """Return the comparison of these distinct values by their codes, with missing ones."""
        different = self.table(values)

        def similarity(a: Codes, b: Codes) -> Tensor:
            equal = (a == b).to(torch.float64)
            if not values:
                return equal
            differ = (a >= 0) & (b >= 0) & (a != b)
            return torch.where(differ, different(a.clamp(min=0), b.clamp(min=0)), equal)

        return similarity

    @property
    def parts(self) -> tuple[FindingKernel, ...]:
        """None: it reads a field."""
        return ()

    @property
    def leaves(self) -> tuple["FieldKernel", ...]:
        """Itself."""
        return (self,)

    @property
    def largest(self) -> float:
        """1."""
        return 1.0

    def combine(self, values: Callable[["FieldKernel"], Tensor]) -> Tensor:
        """Return its own values."""
        return values(self)


@final
@dataclass(frozen=True)
class Sum(FindingKernel):
    """``a + b``."""

    left: FindingKernel
    right: FindingKernel

    @property
    def parts(self) -> tuple[FindingKernel, ...]:
        """Both."""
        return (self.left, self.right)

    @property
    def largest(self) -> float:
        """The sum of the largest values."""
        return self.left.largest + self.right.largest

    def combine(self, values: Callable[[FieldKernel], Tensor]) -> Tensor:
        """Return the sum."""
        return self.left.combine(values) + self.right.combine(values)


@final
@dataclass(frozen=True)
class Product(FindingKernel):
    """``a * b``."""

    left: FindingKernel
    right: FindingKernel

    @property
    def parts(self) -> tuple[FindingKernel, ...]:
        """Both."""
        return (self.left, self.right)

    @property
    def largest(self) -> float:
        """The product of the largest values."""
        return self.left.largest * self.right.largest

    def combine(self, values: Callable[[FieldKernel], Tensor]) -> Tensor:
        """Return the product."""
        return self.left.combine(values) * self.right.combine(values)


@final
@dataclass(frozen=True)
class Scaled(FindingKernel):
    """``scale * a``."""

    scale: float
    kernel: FindingKernel

    def __post_init__(self) -> None:
        if not 0 <= self.scale < float("inf"):
            raise ValueError(f"a kernel's weight must be finite and not negative, got {self.scale}")

    @property
    def parts(self) -> tuple[FindingKernel, ...]:
        """The base."""
        return (self.kernel,)

    @property
    def largest(self) -> float:
        """The scaled largest value."""
        return self.scale * self.kernel.largest

    def combine(self, values: Callable[[FieldKernel], Tensor]) -> Tensor:
        """Return the scaled values."""
        return self.scale * self.kernel.combine(values)


@final
@dataclass(frozen=True)
class Power(FindingKernel):
    """``a ** gamma``: sharper for gamma above 1."""

    kernel: FindingKernel
    gamma: float

    def __post_init__(self) -> None:
        if not 0 < self.gamma < float("inf"):
            raise ValueError(f"gamma must be finite and positive, got {self.gamma}")

    @property
    def parts(self) -> tuple[FindingKernel, ...]:
        """The base."""
        return (self.kernel,)

    @property
    def largest(self) -> float:
        """The power of the largest value."""
        return float(self.kernel.largest**self.gamma)

    def combine(self, values: Callable[[FieldKernel], Tensor]) -> Tensor:
        """Return the powers."""
        return self.kernel.combine(values) ** self.gamma
