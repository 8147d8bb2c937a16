"""Equal or not: the simplest similarity."""

from dataclasses import dataclass, field
from typing import Self, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selip_core.similarity.operators.base import COMPUTING_DTYPES, Index, SimilarityOperator


@final
@dataclass(frozen=True, eq=False)
class Identity(SimilarityOperator):
    """``S_ij = 1`` where row ``i`` and column ``j`` carry the same label, else 0.

    With labels that all differ this is the identity matrix, and the loss is plain CLIP. Products
    are sums over labels, in ``O((N + M) d)``.

    Args:
        row_labels: int64, any values; kept as positions among the distinct ones.
        column_labels: int64, any values; likewise.
        precision: The dtype of the values: float32 or float64.

    Raises:
        ValueError: If the labels are not two int64 vectors on one device.

    Example:
        >>> labels = torch.tensor([7, 3, 7])
        >>> Identity(labels, labels).dense()
        tensor([[1., 0., 1.],
                [0., 1., 0.],
                [1., 0., 1.]])
    """

    row_labels: Int[Tensor, " rows"]
    column_labels: Int[Tensor, " columns"]
    precision: torch.dtype = torch.float32
    _distinct: int = field(init=False)

    def __post_init__(self) -> None:
        for name in ("row_labels", "column_labels"):
            labels = getattr(self, name)
            if labels.ndim != 1 or labels.dtype != torch.int64:
                raise ValueError(
                    f"{name} must be an int64 vector, got {labels.dtype} of shape "
                    f"{tuple(labels.shape)}"
                )
        if self.row_labels.device != self.column_labels.device:
            raise ValueError(
                "row_labels and column_labels must lie on one device, got "
                f"{self.row_labels.device} and {self.column_labels.device}"
            )
        if self.precision not in COMPUTING_DTYPES:
            raise ValueError(f"precision must be float32 or float64, got {self.precision}")
        both = torch.cat([self.row_labels, self.column_labels])
        distinct, positions = torch.unique(both, return_inverse=True)
        object.__setattr__(self, "row_labels", positions[: self.row_labels.shape[0]])
        object.__setattr__(self, "column_labels", positions[self.row_labels.shape[0] :])
        object.__setattr__(self, "_distinct", distinct.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.row_labels.shape[0], self.column_labels.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.precision

    @property
    def device(self) -> torch.device:
        """Where the labels lie."""
        return self.row_labels.device

    def _matmul(self, x: Tensor) -> Tensor:
        return self._sums(self.column_labels, x)[self.row_labels]

    def _rmatmul(self, x: Tensor) -> Tensor:
        return self._sums(self.row_labels, x)[self.column_labels]

    def _select(self, rows: Index, columns: Index) -> "Identity":
        return Identity(self.row_labels[rows], self.column_labels[columns], self.precision)

    def _tile(self, rows: slice, columns: slice) -> Float[Tensor, "tile_rows tile_columns"]:
        equal = self.row_labels[rows, None] == self.column_labels[None, columns]
        return equal.to(self.precision)

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return type(self)(self.row_labels.to(device), self.column_labels.to(device), dtype)

    def _sums(self, labels: Tensor, x: Tensor) -> Tensor:
        sums = torch.zeros(self._distinct, x.shape[1], dtype=x.dtype, device=x.device)
        return sums.index_add(0, labels, x)
