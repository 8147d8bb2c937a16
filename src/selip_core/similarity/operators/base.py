"""The protocol that every similarity operator keeps."""

import abc
from collections.abc import Iterator
from typing import Any, Self, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

Index: TypeAlias = Int[Tensor, " selected"]
"""Positions (int64) of rows or columns."""

COMPUTING_DTYPES = (torch.float32, torch.float64)

_TILE_VALUES = 2**24


class SimilarityOperator(abc.ABC):
    """Non-negative similarities ``S``, known only by how they act on vectors.

    Row ``i`` is report ``i`` of one batch, column ``j`` report ``j`` of another (often the same).
    Values lie in ``[0, 1]`` and have no unit; whoever uses them as a target normalises them.
    Operators compute in float32 or float64: vectors in a lower precision are raised to it, and
    autocast does not reach inside.

    Example:
        >>> from selip_core import Finding, Report, SyntaxSimilarity
        >>> from selip_core.similarity import exact
        >>> sites = {"a": "pons", "b": "insula", "c": "pons"}
        >>> reports = [Report(id=i, findings=[Finding(site=site)]) for i, site in sites.items()]
        >>> operator = SyntaxSimilarity(exact("site")).fit(reports).batch()
        >>> operator.shape, operator.row_sums()
        ((3, 3), tensor([2., 1., 2.]))
        >>> operator.matmul(torch.tensor([[1.0], [2.0], [4.0]])).squeeze(1)
        tensor([5., 2., 5.])
        >>> operator.select(torch.tensor([0]), torch.tensor([2, 1])).dense()
        tensor([[1., 0.]])
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""

    @property
    @abc.abstractmethod
    def dtype(self) -> torch.dtype:
        """float32 or float64."""

    @property
    @abc.abstractmethod
    def device(self) -> torch.device:
        """Where the factors lie."""

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """Bytes that the factors hold."""

    @property
    def recomputes(self) -> bool:
        """Whether each product computes the similarities again.

        Then one product with many columns is cheaper than several with few.
        """
        return False

    @abc.abstractmethod
    def _matmul(self, x: Float[Tensor, "columns d"]) -> Float[Tensor, "rows d"]:
        """Return ``S @ x`` for ``x`` of this operator's precision, as a new tensor."""

    @abc.abstractmethod
    def _rmatmul(self, x: Float[Tensor, "rows d"]) -> Float[Tensor, "columns d"]:
        """Return ``S.T @ x`` for ``x`` of this operator's precision, as a new tensor."""

    @abc.abstractmethod
    def _tile(self, rows: slice, columns: slice) -> Float[Tensor, "tile_rows tile_columns"]:
        """Return a contiguous block as a table, not to be written into."""

    @abc.abstractmethod
    def _select(self, rows: Index, columns: Index) -> "SimilarityOperator":
        """Return the block of these rows and columns, given on this operator's device."""

    @abc.abstractmethod
    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Return the operator on that device and in that precision; one of them is another."""

    def matmul(self, x: Float[Tensor, "columns d"]) -> Float[Tensor, "rows d"]:
        """Return ``S @ x``.

        Raises:
            ValueError: If ``x`` is not a matrix with a row a column of ``S``.
        """
        return _product(self, self._raised(x, self.shape[1], "matmul"), transposed=False)

    def rmatmul(self, x: Float[Tensor, "rows d"]) -> Float[Tensor, "columns d"]:
        """Return ``S.T @ x``.

        Raises:
            ValueError: If ``x`` is not a matrix with a row a row of ``S``.
        """
        return _product(self, self._raised(x, self.shape[0], "rmatmul"), transposed=True)

    def tile(self, rows: slice, columns: slice) -> Float[Tensor, "tile_rows tile_columns"]:
        """Return a contiguous block as a table."""
        with self._without_autocast():
            return self._tile(rows, columns)

    def select(self, rows: Index, columns: Index) -> "SimilarityOperator":
        """Return the block of these rows and columns: a mini-batch, or what one process needs.

        Args:
            rows: Positions (int64), on any device, in any order, with repeats.
            columns: Likewise.
        """
        return self._select(rows.to(self.device), columns.to(self.device))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the operator on another device or in another precision; only factors move.

        Args:
            device: ``None`` keeps the device.
            dtype: float32 or float64; ``None`` keeps the precision.

        Raises:
            ValueError: If ``dtype`` is another type.
        """
        device = self.device if device is None else torch.device(device)
        dtype = self.dtype if dtype is None else dtype
        require_computing(dtype)
        stays = device.type == self.device.type and device.index in (None, self.device.index)
        return self if stays and dtype == self.dtype else self._to(device, dtype)

    def row_sums(self) -> Float[Tensor, " rows"]:
        """Return ``S @ 1``."""
        ones = torch.ones(self.shape[1], 1, dtype=self.dtype, device=self.device)
        return self.matmul(ones).squeeze(1)

    def column_sums(self) -> Float[Tensor, " columns"]:
        """Return ``S.T @ 1``."""
        ones = torch.ones(self.shape[0], 1, dtype=self.dtype, device=self.device)
        return self.rmatmul(ones).squeeze(1)

    def dense(self) -> Float[Tensor, "rows columns"]:
        """Return the whole table: for people and tests, never for training."""
        return self.tile(slice(None), slice(None))

    def entropy(self) -> tuple[Float[Tensor, " rows"], Float[Tensor, " columns"]]:
        """Return the entropies of the normalised rows and of the normalised columns, in nats.

        With ``p = s / r`` and ``r = sum s``: ``-sum p log p = log r - (sum s log s) / r``, so one
        sweep over tiles serves both directions. NaN for zeros alone: they cannot be normalised.
        """
        rows, columns = self.shape
        by_row = torch.empty(rows, dtype=self.dtype, device=self.device)
        by_column = torch.zeros(columns, dtype=self.dtype, device=self.device)
        for block in row_slices(rows, columns):
            values = self.tile(block, slice(None))
            terms = torch.xlogy(values, values)
            by_row[block] = terms.sum(1)
            by_column += terms.sum(0)
        row_sums, column_sums = self.row_sums(), self.column_sums()
        return row_sums.log() - by_row / row_sums, column_sums.log() - by_column / column_sums

    def _without_autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, enabled=False)

    def _apply(self, x: Tensor, transposed: bool) -> Tensor:
        with self._without_autocast():
            return self._rmatmul(x) if transposed else self._matmul(x)

    def _raised(self, x: Tensor, size: int, name: str) -> Tensor:
        """Return ``x`` in this operator's precision, or say why it cannot be multiplied."""
        if x.ndim != 2 or x.shape[0] != size:
            raise ValueError(
                f"{name} of an operator of shape {self.shape} needs ({size}, d), "
                f"got {tuple(x.shape)}"
            )
        return x.to(self.dtype)


class _LinearMap(torch.autograd.Function):
    """``S @ x``: the gradient of a linear map is its transpose, so nothing needs to be saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: SimilarityOperator, transposed: bool) -> Tensor:
        ctx.operator, ctx.transposed = operator, transposed
        return operator._apply(x, transposed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return _product(ctx.operator, gradient, not ctx.transposed), None, None


def _product(operator: SimilarityOperator, x: Tensor, transposed: bool) -> Tensor:
    if x.requires_grad and torch.is_grad_enabled():
        product: Tensor = _LinearMap.apply(x, operator, transposed)  # type: ignore[no-untyped-call]
        return product
    return operator._apply(x, transposed)


def row_slices(rows: int, columns: int) -> Iterator[slice]:
    """Yield consecutive rows such that each tile of them has a bounded number of values."""
    height = max(1, _TILE_VALUES // max(columns, 1))
    for start in range(0, rows, height):
        yield slice(start, min(start + height, rows))


def require_computing(dtype: torch.dtype) -> None:
    """Refuse another dtype than float32 and float64.

    Raises:
        ValueError: If it is another.
    """
    if dtype not in COMPUTING_DTYPES:
        raise ValueError(f"operators compute in float32 or float64, got {dtype}")


def computing_dtype(tensor: Tensor, name: str) -> torch.dtype:
    """Return float64 for float64 and float32 for any other floating dtype.

    Raises:
        ValueError: If the tensor is not floating.
    """
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must be floating, got {tensor.dtype}; convert it with .float()")
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
