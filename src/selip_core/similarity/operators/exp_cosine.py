"""The exponential of a cosine: targets that are each a softmax."""

import math
from dataclasses import dataclass
from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from selip_core.similarity.operators.base import Index, SimilarityOperator, computing_dtype

# Tiles that stay near the processor; larger ones are no faster, and take memory.
_TILE_VALUES = 2**22


@final
@dataclass(frozen=True, eq=False)
class ExpCosine(SimilarityOperator):
    """``S_ij = exp((cos(left_i, right_j) - 1) / temperature)``, in ``O((N + M) R)`` memory.

    Normalised by its sums, each row and each column is a softmax of cosines over ``temperature``.
    Values lie in ``[0, 1]``: far ones underflow to 0. Rounding of a cosine (about 1e-7 in float32)
    is divided by the temperature: at 0.01 values are right to a few 1e-5, relatively.

    Each product computes tiles of rows, multiplies and drops them: ``O(N M (R + d))``.

    Args:
        left: An embedding a row, scaled to unit norm here.
        right: An embedding a column, likewise.
        temperature: Positive, without unit; the smaller, the sharper.

    Raises:
        ValueError: If the factors are not floating matrices of one width, dtype and device, with
            finite rows that are not zero, or the temperature is not finite and positive.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> ExpCosine(embeddings, embeddings, temperature=0.5).dense()
        tensor([[1.0000, 0.1353],
                [0.1353, 1.0000]])
    """

    left: Float[Tensor, "rows r"]
    right: Float[Tensor, "columns r"]
    temperature: float

    def __post_init__(self) -> None:
        left, right = self.left, self.right
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be finite and positive, got {self.temperature}")
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
            raise ValueError(
                "left and right must be matrices of the same width, got shapes "
                f"{tuple(left.shape)} and {tuple(right.shape)}"
            )
        if left.dtype != right.dtype or left.device != right.device:
            raise ValueError(
                "left and right must share dtype and device, got "
                f"{left.dtype} on {left.device} and {right.dtype} on {right.device}"
            )
        object.__setattr__(self, "left", _unit(left, "left"))
        object.__setattr__(self, "right", self.left if right is left else _unit(right, "right"))

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
        """Where the embeddings lie."""
        return self.left.device

    @property
    def nbytes(self) -> int:
        """Bytes of the embeddings."""
        return self.left.nbytes + (0 if self.right is self.left else self.right.nbytes)

    @property
    def recomputes(self) -> bool:
        """True: tiles are dropped."""
        return True

    def _matmul(self, x: Tensor) -> Tensor:
        return self._product(self.left, self.right, x)

    def _rmatmul(self, x: Tensor) -> Tensor:
        return self._product(self.right, self.left, x)

    def _product(self, rows: Tensor, columns: Tensor, x: Tensor) -> Tensor:
        # Attention (scaled_dot_product_attention) gives the same divided by row sums, which it does
        # not tell; with values wider than keys it computes every tile once a chunk of them, and it
        # was never much faster, up to twice slower.
        product = x.new_empty(rows.shape[0], x.shape[1])
        height = max(1, _TILE_VALUES // max(columns.shape[0], 1))
        for start in range(0, rows.shape[0], height):
            block = slice(start, start + height)
            torch.mm(self._values(rows[block], columns), x, out=product[block])
        return product

    def _values(self, rows: Tensor, columns: Tensor) -> Float[Tensor, "rows columns"]:
        cosines = rows @ columns.T
        return cosines.clamp_(max=1).sub_(1).div_(self.temperature).exp_()

    def _select(self, rows: Index, columns: Index) -> "ExpCosine":
        return ExpCosine(self.left[rows], self.right[columns], self.temperature)

    def _tile(self, rows: slice, columns: slice) -> Float[Tensor, "tile_rows tile_columns"]:
        return self._values(self.left[rows], self.right[columns])

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        left = self.left.to(device, dtype)
        right = left if self.right is self.left else self.right.to(device, dtype)
        return type(self)(left, right, self.temperature)


def _unit(embeddings: Tensor, name: str) -> Float[Tensor, "rows r"]:
    embeddings = embeddings.to(computing_dtype(embeddings, name))
    norms = embeddings.norm(dim=1)
    wrong = ~((norms > 0) & (norms < torch.inf))
    if bool(wrong.any()):
        raise ValueError(
            f"the rows of {name} must be finite and not zero; {int(wrong.sum())} of "
            f"{len(embeddings)} are not"
        )
    return normalize(embeddings)
