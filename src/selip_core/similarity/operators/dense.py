"""A similarity given as a table."""

from dataclasses import dataclass
from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core._assertions import require
from selip_core.similarity.operators.base import Index, SimilarityOperator, computing_dtype


@final
@dataclass(frozen=True, eq=False)
class Dense(SimilarityOperator):
    """``S`` as a table of raw similarities, in ``O(N M)`` memory.

    Args:
        values: Finite and not negative; half precision is raised to float32.

    Raises:
        ValueError: If the values are not a floating matrix, or negative, or not finite.

    Example:
        >>> operator = Dense(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
        >>> operator.row_sums()
        tensor([1.5000, 1.5000])
    """

    values: Float[Tensor, "rows columns"]

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise ValueError(f"a similarity must be a matrix, got shape {tuple(self.values.shape)}")
        values = self.values.to(computing_dtype(self.values, "a similarity"))
        if values.numel():
            _require_in_range(values)
        object.__setattr__(self, "values", values)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        """Where the table lies."""
        return self.values.device

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self.values.nbytes

    def _matmul(self, x: Tensor) -> Tensor:
        return self.values @ x

    def _rmatmul(self, x: Tensor) -> Tensor:
        return self.values.T @ x

    def _select(self, rows: Index, columns: Index) -> "Dense":
        return Dense(self.values[rows[:, None], columns[None, :]])

    def _tile(self, rows: slice, columns: slice) -> Tensor:
        return self.values[rows, columns]

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return type(self)(self.values.to(device, dtype))


def _require_in_range(values: Tensor) -> None:
    smallest, largest = values.aminmax()
    require(
        (smallest >= 0) & (largest < torch.inf),
        "similarities must be finite and not negative",
        lambda: f"{(values < 0).sum()} negative and {(~values.isfinite()).sum()} not finite",
        "clip or shift them first, as with (1 + cosine) / 2",
    )
