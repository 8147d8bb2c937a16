"""Finding kernels and how they compose: ``+``, ``*``, scalars, ``** gamma``."""

import abc
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.values import Codes, FieldValues

NEGATED = "negated"
"""The field that says whether a finding is absent; it is never missing."""

LeafValues: TypeAlias = "Callable[[LeafKernel], Float[Tensor, '*pairs']]"
"""From a leaf to its values for some pairs of findings; NaN where it is to be left out."""


class FindingKernel(abc.ABC):
    """A symmetric similarity of two findings in ``[0, 1]``, built from the values of their fields.

    ``sum`` of several is their sum.

    Raises:
        ValueError: If a weight is no number, negative or not finite, or a power is no number or not
            positive.

    Example:
        The kernel of the paper:

        >>> from selip_core.similarity import dice, exact
        >>> kernel = (0.5 * exact("site") + 0.5 * exact("signal")) * dice("text")
        >>> print(kernel)
        (0.5 * exact('site') + 0.5 * exact('signal')) * dice('text')
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
    def combine(self, values: LeafValues) -> Float[Tensor, "*pairs"]:
        """Return the kernel of some pairs, given the values of its leaves for these pairs.

        NaN where the kernel is to be left out of the sum or product that it stands in.
        """

    @property
    def leaves(self) -> "tuple[LeafKernel, ...]":
        """The kernels of fields it is built from, without repeats."""
        return tuple(dict.fromkeys(leaf for part in self.parts for leaf in part.leaves))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it reads."""
        return tuple(dict.fromkeys(field for leaf in self.leaves for field in leaf.fields))

    @property
    def is_informative(self) -> bool:
        """Whether it reads any field besides ``negated``, which alone describes nothing."""
        return any(part.is_informative for part in self.parts)

    @property
    def can_be_left_out(self) -> bool:
        """Whether ``combine`` can give NaN."""
        return all(part.can_be_left_out for part in self.parts if self._decides(part))

    def _decides(self, part: "FindingKernel") -> bool:
        """Return whether a part counts when it is asked if anything is known of a pair."""
        return part.is_informative or not self.is_informative

    def __add__(self, other: object) -> "FindingKernel":
        if not isinstance(other, FindingKernel):
            return NotImplemented
        return Sum((*_terms(self), *_terms(other)))

    def __radd__(self, other: object) -> "FindingKernel":
        # Where Python's sum() begins.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __mul__(self, other: "FindingKernel | float") -> "FindingKernel":
        if isinstance(other, FindingKernel):
            return Product(self, other)
        return Scaled(_number(other, "a kernel is multiplied by a kernel, or by a weight"), self)

    def __rmul__(self, other: float) -> "FindingKernel":
        return self * other

    def __pow__(self, gamma: float) -> "FindingKernel":
        return Power(self, _number(gamma, "a kernel is raised to a power"))


class LeafKernel(FindingKernel):
    """A kernel that reads the values of findings, and is not made of other kernels.

    Those of this package derive from :class:`~selip_core.similarity.FieldKernel`.
    """

    @property
    @abc.abstractmethod
    def fields(self) -> tuple[str, ...]:
        """The field that it reads; several where their words are joined."""

    @abc.abstractmethod
    def read(self, values: Sequence[str]) -> FieldValues:
        """Return distinct values, ready to be compared."""

    @abc.abstractmethod
    def compare(
        self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype = torch.float64
    ) -> Float[Tensor, "*pairs"]:
        """Return the similarity by codes, with broadcasting; NaN where it is to be left out."""

    def identify_encoder(self) -> str | None:
        """Return what tells the encoder that it compares by from others; ``None`` without one."""
        return None

    def check(self, values: FieldValues) -> None:
        """Look at the tensors of values that were read from a file.

        Raises:
            ValueError: If one has not a row for each value.
        """
        for name in values.tensors:
            values.require_rows(name, len(values.strings))

    @property
    def parts(self) -> tuple[FindingKernel, ...]:
        """None."""
        return ()

    @property
    def leaves(self) -> "tuple[LeafKernel, ...]":
        """Itself."""
        return (self,)

    @property
    def is_informative(self) -> bool:
        """Whether it reads any field besides ``negated``."""
        return set(self.fields) != {NEGATED}

    def combine(self, values: LeafValues) -> Tensor:
        """Return its own values."""
        return values(self)


@final
@dataclass(frozen=True)
class Sum(FindingKernel):
    """``a + b + …``.

    Where a term is to be left out, the others are scaled up as if it were not there:
    ``sum_known k * (largest of all) / (largest of the known)``, and 0 where no term is known, or
    only terms that read nothing but ``negated``.
    """

    terms: tuple[FindingKernel, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a sum of kernels needs at least one term")

    @property
    def parts(self) -> tuple[FindingKernel, ...]:
        """The terms."""
        return self.terms

    @property
    def largest(self) -> float:
        """The sum of the largest values."""
        return math.fsum(part.largest for part in self.parts)

    @property
    def can_be_left_out(self) -> bool:
        """Never: where nothing is known it is 0."""
        return False

    def combine(self, values: LeafValues) -> Tensor:
        """Return the sum over the known terms."""
        if any(part.can_be_left_out for part in self.parts):
            return self._sum_of_known(values)
        first, *others = self.parts
        total = first.combine(values)
        for part in others:
            total = total + part.combine(values)
        return total

    def _sum_of_known(self, values: LeafValues) -> Tensor:
        total = known = deciding = torch.zeros(())
        for part in self.parts:
            value = part.combine(values)
            absent = value.isnan()
            total = total + value.masked_fill(absent, 0)
            weight = part.largest * (~absent).to(value.dtype)
            known = known + weight
            if self._decides(part):
                deciding = deciding + weight
        return torch.where(deciding > 0, total * self.largest / known, 0)

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))


@final
@dataclass(frozen=True)
class Product(FindingKernel):
    """``a * b``; a factor that is to be left out counts as its largest value.

    It is left out itself where every factor is, apart from those that read nothing but
    ``negated``: two findings of which only that is known have nothing in common.
    """

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

    def combine(self, values: LeafValues) -> Tensor:
        """Return the product."""
        left, right = self.left.combine(values), self.right.combine(values)
        both = _or_largest(self.left, left) * _or_largest(self.right, right)
        if not self.can_be_left_out:
            return both
        absent = [
            value.isnan()
            for part, value in zip(self.parts, (left, right), strict=True)
            if self._decides(part)
        ]
        return both.masked_fill(functools.reduce(torch.logical_and, absent), torch.nan)

    def __str__(self) -> str:
        return f"{_in_brackets(self.left)} * {_in_brackets(self.right)}"


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

    def combine(self, values: LeafValues) -> Tensor:
        """Return the scaled values."""
        return self.scale * self.kernel.combine(values)

    def __str__(self) -> str:
        return f"{self.scale:g} * {_in_brackets(self.kernel)}"


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

    def combine(self, values: LeafValues) -> Tensor:
        """Return the powers."""
        return self.kernel.combine(values) ** self.gamma

    def __str__(self) -> str:
        kernel = f"({self.kernel})" if self.kernel.parts else str(self.kernel)
        return f"{kernel} ** {self.gamma:g}"


def _number(value: object, use: str) -> float:
    if not isinstance(value, Real):
        raise ValueError(f"{use} that is a number, got {type(value).__name__}")
    return float(value)


def _terms(kernel: FindingKernel) -> tuple[FindingKernel, ...]:
    return kernel.terms if isinstance(kernel, Sum) else (kernel,)


def _or_largest(kernel: FindingKernel, values: Tensor) -> Tensor:
    return values.nan_to_num(nan=kernel.largest) if kernel.can_be_left_out else values


def _in_brackets(kernel: FindingKernel) -> str:
    return f"({kernel})" if isinstance(kernel, Sum) else str(kernel)
