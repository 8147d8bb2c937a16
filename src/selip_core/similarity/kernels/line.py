"""Kernels of values that stand on lines, such as sizes or grades."""

import abc
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.field import FieldKernel, equal_as
from selip_core.similarity.kernels.values import Codes, FieldValues


@dataclass(frozen=True)
class LineKernel(FieldKernel):
    """A kernel of how far apart two values stand on one line; values on different lines are 0.

    To add one, derive a frozen dataclass with ``place`` and ``of_gap``. There is no table: a value
    is its line and its position.
    """

    @abc.abstractmethod
    def place(self, value: str) -> tuple[Hashable, float]:
        """Return the line that a value stands on, and where; values at one place agree (1)."""

    @abc.abstractmethod
    def of_gap(self, gaps: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
        """Return the similarity of values so far apart, 1 for none; it may write into the gaps."""

    def prepare(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return the line of each value as a number, and its position in float64."""
        places = [self.place(value) for value in values]
        numbers: dict[Hashable, int] = {}
        lines = [numbers.setdefault(line, len(numbers)) for line, _ in places]
        return {
            "lines": torch.tensor(lines, dtype=torch.int32),
            "positions": torch.tensor([position for _, position in places], dtype=torch.float64),
        }

    def known(self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype) -> Tensor:
        """Return the similarity of the gap on one line, and 0 between lines."""
        lines, positions = values.tensors["lines"], values.tensors["positions"]
        # Subtracted in float64: 1200 mm and 1200.01 mm differ by what they differ.
        gaps = (positions[a] - positions[b]).abs_().to(dtype)
        return self.of_gap(gaps).mul_(equal_as(dtype, lines[a], lines[b]))
