"""Equal or not: the simplest similarity."""

from dataclasses import dataclass, field
from typing import Self, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from selip_core.similarity.operators.base import COMPUTING_DTYPES, Index, SimilarityOperator


@final
@dataclass(frozen=True, eq=False)
class Identity(SimilarityOperator):
    """``S_ij = values_i`` where row ``i`` and column ``j`` carry the same label, else 0.

    With labels that all differ this is the identity matrix, and the loss is plain CLIP. Products
    are sums over labels, in ``O((N + M) d)``.

    Args:
        row_labels: int64, any values; kept as positions among the distinct ones.
        column_labels: int64, any values; likewise.
        values: float32 or float64, a value a row; ``None``: 1 for all, in float32.

    Raises:
        ValueError: If the labels are not two int64 vectors on one device, or the values do not fit.

    Example:
        >>> labels = torch.tensor([7, 3, 7])
        >>> Identity(labels, labels).dense()
        tensor([[1., 0., 1.],
                [0., 1., 0.],
                [1., 0., 1.]])
    """

    row_labels: Int[Tensor, " rows"]
    column_labels: Int[Tensor, " columns"]
    values: Float[Tensor, " rows"] | None = None
    _values: Float[Tensor, " rows"] = field(init=False)
    _distinct: int = field(init=False)
    _is_diagonal: bool = field(init=False)

    def __post_init__(self) -> None:
        for name in ("row_labels", "column_labels"):
            labels = getattr(self, name)
            if labels.ndim != 1 or labels.dtype != torch.int64:
                raise ValueError(
                    f"{name} must be an int64 vector, got {labels.dtype} of shape "
                    f"{tuple(labels.shape)}"
                )
        values = self.values
        if values is None:
            values = torch.ones(self.row_labels.shape[0], device=self.row_labels.device)
        if values.shape != self.row_labels.shape or values.dtype not in COMPUTING_DTYPES:
            raise ValueError(
                f"values must be float32 or float64, one a row, got {values.dtype} of shape "
                f"{tuple(values.shape)} for {self.row_labels.shape[0]} rows"
            )
        devices = {part.device for part in (self.row_labels, self.column_labels, values)}
        if len(devices) > 1:
            raise ValueError(
                f"labels and values must lie on one device, got {sorted(map(str, devices))}"
            )
        both = torch.cat([self.row_labels, self.column_labels])
        distinct, positions = torch.unique(both, return_inverse=True)
        object.__setattr__(self, "row_labels", positions[: self.row_labels.shape[0]])
        object.__setattr__(self, "column_labels", positions[self.row_labels.shape[0] :])
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_distinct", distinct.shape[0])
        alone = distinct.shape[0] == self.row_labels.shape[0]
        diagonal = alone and torch.equal(self.row_labels, self.column_labels)
        object.__setattr__(self, "_is_diagonal", diagonal)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.row_labels.shape[0], self.column_labels.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self._values.dtype

    @property
    def device(self) -> torch.device:
        """Where the labels lie."""
        return self.row_labels.device

    @property
    def nbytes(self) -> int:
        """Bytes of the labels and values."""
        return self.row_labels.nbytes + self.column_labels.nbytes + self._values.nbytes

    def _matmul(self, x: Tensor) -> Tensor:
        if self._is_diagonal:
            return self._values[:, None] * x
        return self._values[:, None] * self._sums(self.column_labels, x)[self.row_labels]

    def _rmatmul(self, x: Tensor) -> Tensor:
        if self._is_diagonal:
            return self._values[:, None] * x
        return self._sums(self.row_labels, self._values[:, None] * x)[self.column_labels]

    def _select(self, rows: Index, columns: Index) -> "Identity":
        return Identity(self.row_labels[rows], self.column_labels[columns], self._values[rows])

    def _tile(self, rows: slice, columns: slice) -> Float[Tensor, "tile_rows tile_columns"]:
        equal = self.row_labels[rows, None] == self.column_labels[None, columns]
        return equal * self._values[rows, None]

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        labels = self.row_labels.to(device), self.column_labels.to(device)
        return type(self)(*labels, self._values.to(device, dtype))

    def _sums(self, labels: Tensor, x: Tensor) -> Float[Tensor, "distinct d"]:
        # A bag of rows is several times faster than index_add, and has a fixed order of addition.
        order = labels.argsort(stable=True)
        offsets = torch.searchsorted(
            labels[order], torch.arange(self._distinct + 1, device=x.device)
        )
        return embedding_bag(order, x, offsets, mode="sum", include_last_offset=True)
