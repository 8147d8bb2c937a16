"""Closeness of grades: values in an order."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.field import Missing
from selip_core.similarity.kernels.line import LineKernel
from selip_core.similarity.kernels.words import normalized


@final
@dataclass(frozen=True)
class Ordered(LineKernel):
    """``1 - |rank difference| / (levels - 1)``."""

    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = normalized(self.levels, "levels")
        if len(levels) < 2 or len(set(levels)) < len(levels):
            raise ValueError(
                "levels must be at least two, from the lowest to the highest, and distinct in "
                f"Unicode's form NFKC, got {levels}"
            )
        object.__setattr__(self, "levels", levels)

    def place(self, value: str) -> tuple[Hashable, float]:
        """Return the share of the way up from the lowest level; else a line of its own."""
        if value not in self.levels:
            return value, 0.0
        return self.levels, self.levels.index(value) / (len(self.levels) - 1)

    def of_gap(self, gaps: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
        """Return ``1 - gap``."""
        return gaps.neg_().add_(1)


def ordered(
    field: str | tuple[str, ...], levels: Iterable[str], *, missing: Missing = "equal"
) -> Ordered:
    """Return the kernel that compares a field by how far apart its grades are.

    ``1 - |rank difference| / (number of levels - 1)``, in ``[0, 1]``: 0 between the lowest and the
    highest. A value that is no level matches only itself.

    Args:
        field: The field to read; or several as a tuple, whose words are joined.
        levels: From the lowest to the highest, as fields are compared: in Unicode's form NFKC,
            upper and lower case apart.
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.Missing`.

    Raises:
        ValueError: If there are less than two levels, or two are equal, or one is not a string.

    Example:
        >>> import torch
        >>> kernel = ordered("signal", ["low", "iso", "high"])
        >>> values = kernel.read(["low", "iso", "high", "mixed"])
        >>> kernel.compare(values, torch.tensor([0, 0, 0]), torch.tensor([1, 2, 3]))
        tensor([0.5000, 0.0000, 0.0000], dtype=torch.float64)
    """
    return Ordered(field, normalized(levels, "levels"), missing=missing)
