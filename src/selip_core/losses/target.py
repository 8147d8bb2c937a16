"""What a target is to the loss: similarities known by their products, normalised here."""

from dataclasses import dataclass
from typing import Protocol, Self, TypeGuard, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Target(Protocol):
    """Non-negative raw similarities ``S`` of the images' reports (rows) to the texts (columns).

    Anything with these members can be a target; every operator of ``selip_core.similarity`` is one.
    The products are the whole of it, so a target need not be a table: factors will do. ``dense``
    serves the ``dense`` back end alone.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""

    @property
    def device(self) -> torch.device:
        """Where the products are computed."""

    def matmul(self, x: Float[Tensor, "columns d"], /) -> Float[Tensor, "rows d"]:
        """Return ``S @ x``."""

    def rmatmul(self, x: Float[Tensor, "rows d"], /) -> Float[Tensor, "columns d"]:
        """Return ``S.T @ x``."""

    def row_sums(self) -> Float[Tensor, " rows"]:
        """Return the sum of every row."""

    def column_sums(self) -> Float[Tensor, " columns"]:
        """Return the sum of every column."""

    def to(self, device: torch.device, dtype: torch.dtype, /) -> Self:
        """Return the same similarities on this device and of this type."""

    def dense(self) -> Float[Tensor, "rows columns"]:
        """Return the table."""


@runtime_checkable
class TiledTarget(Target, Protocol):
    """A target that can also be read in tiles, as ``clamp_eps`` needs on the chunked back end."""

    def tile(self, rows: slice, columns: slice, /) -> Float[Tensor, "r c"]:
        """Return the block of these rows and columns as a table."""


@runtime_checkable
class SelectableTarget(Target, Protocol):
    """A target of which rows and columns can be taken out, as ``mask`` needs."""

    def select(self, rows: Int[Tensor, " r"], columns: Int[Tensor, " c"], /) -> Target:
        """Return the block of these rows and columns."""


@runtime_checkable
class EntropyTarget(Target, Protocol):
    """A target that knows its entropy; without it statistics have no KL divergence."""

    def entropy(self) -> tuple[Float[Tensor, " rows"], Float[Tensor, " columns"]]:
        """Return the entropies of the normalised rows and of the normalised columns, in nats."""


# isinstance would do, but for targets made from a table within a graph of torch.compile, where it
# takes no protocol.
def is_tiled(target: Target) -> TypeGuard[TiledTarget]:
    """Return whether a target can be read in tiles."""
    return hasattr(target, "tile")


def is_selectable(target: Target) -> TypeGuard[SelectableTarget]:
    """Return whether rows and columns of a target can be taken out."""
    return hasattr(target, "select")


def knows_entropy(target: Target) -> TypeGuard[EntropyTarget]:
    """Return whether a target knows its entropy."""
    return hasattr(target, "entropy")


@final
@dataclass(frozen=True, eq=False)
class TwoWayTarget:
    """``(diag(1/r) S + S diag(1/c)) / 2``: the mean of the row and the column distributions.

    Attributes:
        similarities: ``S``; with several processes the rows of this one.
        row_sums: ``r``, positive.
        column_sums: ``c``, positive; over the rows of all processes.
    """

    similarities: Target
    row_sums: Float[Tensor, " rows"]
    column_sums: Float[Tensor, " columns"]

    def matmul(self, x: Float[Tensor, "columns d"]) -> Float[Tensor, "rows d"]:
        """Return the product with ``x``, by one pass over the similarities."""
        by_row, by_column = self._matmul_both(x)
        return torch.addcdiv(by_column, by_row, self.row_sums[:, None]).div_(2)

    def matmul_each(
        self, x: Float[Tensor, "columns d"]
    ) -> tuple[Float[Tensor, "rows d"], Float[Tensor, "rows d"]]:
        """Return ``diag(1/r) S @ x`` and ``S diag(1/c) @ x``."""
        by_row, by_column = self._matmul_both(x)
        return by_row / self.row_sums[:, None], by_column

    def _matmul_both(self, x: Tensor) -> tuple[Tensor, ...]:
        both = torch.cat([x, x / self.column_sums[:, None]], 1)
        return self.similarities.matmul(both).chunk(2, 1)

    def rmatmul(self, x: Float[Tensor, "rows d"]) -> Float[Tensor, "columns d"]:
        """Return the product of the transpose with ``x``, by one pass over the similarities."""
        both = torch.cat([x / self.row_sums[:, None], x], 1)
        by_row, by_column = self.similarities.rmatmul(both).chunk(2, 1)
        return torch.addcdiv(by_row, by_column, self.column_sums[:, None]).div_(2)
