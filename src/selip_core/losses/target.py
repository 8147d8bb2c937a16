"""What a target is to the loss: similarities known by their products, normalised here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeGuard, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Products with a target take features this many columns at a time: temporaries are then small
# beside the features themselves, and a product of matrices is still as fast. Not below as many
# values as a cache holds: there the number of operations counts.
SLICE_WIDTH = 128
FEW_VALUES = 2**20


@runtime_checkable
class Target(Protocol):
    """Non-negative raw similarities ``S`` of the images' reports (rows) to the texts (columns).

    Anything with these members can be a target; every operator of ``selip_core.similarity`` is one.
    The products are the whole of it, so a target need not be a table: factors will do. ``dense``
    serves the ``dense`` back end alone. One with an attribute ``recomputes`` that is False is asked
    for products with a few columns at a time, where that saves memory.
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

    def add_matmul(
        self, total: Float[Tensor, "rows d"], x: Float[Tensor, "columns d"], weight: float
    ) -> None:
        """Add ``weight`` times the product with ``x``."""
        for columns, by_row, by_column in self._matmuls(x):
            part = total[:, columns].add_(by_column, alpha=weight / 2)
            part.addcdiv_(by_row, self.row_sums[:, None], value=weight / 2)

    def add_rmatmul(
        self, total: Float[Tensor, "columns d"], x: Float[Tensor, "rows d"], weight: float
    ) -> None:
        """Add ``weight`` times the product of the transpose with ``x``."""
        for columns in self._slices(x):
            part = x[:, columns].to(self.row_sums.dtype)
            both = torch.cat([part / self.row_sums[:, None], part], 1)
            by_row, by_column = self.similarities.rmatmul(both).chunk(2, 1)
            part = total[:, columns].add_(by_row, alpha=weight / 2)
            part.addcdiv_(by_column, self.column_sums[:, None], value=weight / 2)

    def attractions(
        self, images: Float[Tensor, "rows d"], texts: Float[Tensor, "columns d"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the sums of ``images * (diag(1/r) S texts)`` and ``images * (S diag(1/c) texts)``.

        The first is the attraction of images that ask for texts, the second that of the others.
        """
        of_images, of_texts = self.row_sums.new_zeros(2).unbind()
        for columns, by_row, by_column in self._matmuls(texts):
            part = images[:, columns]
            of_images = of_images + by_row.div_(self.row_sums[:, None]).mul_(part).sum()
            of_texts = of_texts + by_column.mul_(part).sum()
        return of_images, of_texts

    def _matmuls(self, x: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield slices of the columns of ``x``, ``S @ x`` and ``S diag(1/c) @ x`` of them.

        One pass over the similarities gives both.
        """
        for columns in self._slices(x):
            part = x[:, columns].to(self.row_sums.dtype)
            both = torch.cat([part, part / self.column_sums[:, None]], 1)
            by_row, by_column = self.similarities.matmul(both).chunk(2, 1)
            yield columns, by_row, by_column

    def _slices(self, x: Tensor) -> Iterator[slice]:
        """Yield slices of the columns of ``x`` whose products are temporary.

        All at once where there is little to hold, or where each product computes the similarities
        again. A target that does not say so is taken to do it.
        """
        width = x.shape[1]
        # A comparison and no division: a compiler would fix the size of the batch.
        few = x.numel() <= FEW_VALUES
        size = width if few or getattr(self.similarities, "recomputes", True) else SLICE_WIDTH
        for start in range(0, width, max(size, 1)):
            yield slice(start, min(start + size, width))
