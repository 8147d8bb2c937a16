"""A mix of similarities."""

from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor

from selip_core.similarity.operators.base import Index, SimilarityOperator


@final
@dataclass(frozen=True, eq=False)
class ScaledSum(SimilarityOperator):
    """``S = sum_k scale_k * S_k``; never a table, whatever its parts are.

    Args:
        scales: Not negative, without unit; a sum of at most 1 keeps the values in ``[0, 1]``.
        operators: As many as scales, of one shape, dtype and device.

    Raises:
        ValueError: If there is no operator, a scale is negative, or the operators do not fit.

    Example:
        >>> from selip_core.similarity.operators import Identity
        >>> labels = torch.arange(2)
        >>> mixed = ScaledSum((0.5, 0.25), (Identity(labels, labels), Identity(labels, labels)))
        >>> mixed.row_sums()
        tensor([0.7500, 0.7500])
    """

    scales: tuple[float, ...]
    operators: tuple[SimilarityOperator, ...]

    def __post_init__(self) -> None:
        if not self.operators or len(self.scales) != len(self.operators):
            raise ValueError(
                "a scaled sum needs as many scales as operators and at least one, got "
                f"{len(self.scales)} and {len(self.operators)}"
            )
        if not all(0 <= scale < torch.inf for scale in self.scales):
            raise ValueError(f"scales must be finite and not negative, got {self.scales}")
        kinds = {(part.shape, part.dtype, part.device) for part in self.operators}
        if len(kinds) > 1:
            described = ", ".join(sorted(f"{s} {d} on {v}" for s, d, v in kinds))
            raise ValueError(f"operators must share shape, dtype and device, got {described}")

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.operators[0].shape

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.operators[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the factors lie."""
        return self.operators[0].device

    @property
    def nbytes(self) -> int:
        """Bytes of the parts."""
        return sum(part.nbytes for part in self.operators)

    @property
    def recomputes(self) -> bool:
        """Whether a part does."""
        return any(part.recomputes for part in self.operators)

    def _matmul(self, x: Tensor) -> Tensor:
        return self._sum([part._matmul(x) for part in self.operators])

    def _rmatmul(self, x: Tensor) -> Tensor:
        return self._sum([part._rmatmul(x) for part in self.operators])

    def _select(self, rows: Index, columns: Index) -> "ScaledSum":
        return ScaledSum(self.scales, tuple(part._select(rows, columns) for part in self.operators))

    def _tile(self, rows: slice, columns: slice) -> Tensor:
        # Tiles can be views of a table: the first is copied before the others are added.
        first, *others = (part._tile(rows, columns) for part in self.operators)
        return self._sum([first.clone(), *others])

    def _to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return type(self)(self.scales, tuple(part.to(device, dtype) for part in self.operators))

    def _sum(self, parts: list[Tensor]) -> Tensor:
        """Return the scaled sum; the first part is written into."""
        total = parts[0] if self.scales[0] == 1 else parts[0].mul_(self.scales[0])
        for scale, part in zip(self.scales[1:], parts[1:], strict=True):
            total.add_(part, alpha=scale)
        return total
