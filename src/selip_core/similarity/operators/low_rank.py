"""A similarity of low rank, such as the cosine of embeddings."""

from dataclasses import dataclass
from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.operators.base import Index, SimilarityOperator, computing_dtype


@final
@dataclass(frozen=True, eq=False)
class LowRank(SimilarityOperator):
    """``S = left @ right.T``, in ``O((N + M) R)`` memory.

    The values must not be negative; they are not looked at, since that would need the table.

    Args:
        left: A row a report of the rows.
        right: A row a report of the columns.

    Raises:
        ValueError: If the factors are not floating matrices of one rank, dtype and device.

    Example:
        >>> operator = LowRank(torch.tensor([[1.0], [0.5]]), torch.tensor([[1.0], [0.5]]))
        >>> operator.dense()
        tensor([[1.0000, 0.5000],
                [0.5000, 0.2500]])
    """

    left: Float[Tensor, "rows r"]
    right: Float[Tensor, "columns r"]

    def __post_init__(self) -> None:
        left, right = self.left, self.right
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
            raise ValueError(
                "left and right must be matrices of the same rank, got shapes "
                f"{tuple(left.shape)} and {tuple(right.shape)}"
            )
        if left.dtype != right.dtype or left.device != right.device:
            raise ValueError(
                "left and right must share dtype and device, got "
                f"{left.dtype} on {left.device} and {right.dtype} on {right.device}"
            )
        dtype = computing_dtype(left, "left")
        object.__setattr__(self, "left", left.to(dtype))
        object.__setattr__(self, "right", self.left if right is left else right.to(dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.left.shape[0], self.right.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.left.dtype

    @property
    def device(self) -> torch.device:
        """Where the factors lie."""
        return self.left.device

    @property
    def nbytes(self) -> int:
        """Bytes of the factors."""
        return self.left.nbytes + (0 if self.right is self.left else self.right.nbytes)

    def _matmul(self, x: Tensor) -> Tensor:
        return self.left @ (self.right.T @ x)

    def _rmatmul(self, x: Tensor) -> Tensor:
        return self.right @ (self.left.T @ x)

    def _select(self, rows: Index, columns: Index) -> "LowRank":
        return LowRank(self.left[rows], self.right[columns])

    def _tile(self, rows: slice, columns: slice) -> Tensor:
        # A value that is 0 can be rounded below, and has no logarithm then.
        return (self.left[rows] @ self.right[columns].T).clamp_(min=0)

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        left = self.left.to(device, dtype)
        return type(self)(left, left if self.right is self.left else self.right.to(device, dtype))
