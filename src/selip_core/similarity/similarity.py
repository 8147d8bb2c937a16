"""A similarity of reports: fitted to a corpus once, asked for an operator every step."""

import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, final

import torch

from selip_core.similarity.operators import ScaledSum, SimilarityOperator

if TYPE_CHECKING:
    from selip_core.findings import Report

_ROUNDING = 1e-9


class Similarity(abc.ABC):
    """What makes two reports alike.

    Similarities mix by ``0.5 * syntax + 0.5 * semantic``.
    """

    @abc.abstractmethod
    def fit(self, reports: "Iterable[Report]") -> Self:
        """Learn the corpus; only fitted reports can be asked for. Return ``self``."""

    @abc.abstractmethod
    def batch(
        self,
        rows: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> SimilarityOperator:
        """Return the similarity of some fitted reports as an operator.

        Args:
            rows: Ids of the rows; ``None``: all fitted reports, in their order.
            columns: Ids of the columns; ``None``: those of the rows.
            dtype: float32 or float64.

        Raises:
            ValueError: If an id was not fitted, or nothing was.
        """

    def __add__(self, other: "Similarity") -> "MixedSimilarity":
        left, right = _mixed(self), _mixed(other)
        return MixedSimilarity(left.scales + right.scales, left.parts + right.parts)

    def __mul__(self, scale: float) -> "MixedSimilarity":
        mixed = _mixed(self)
        return MixedSimilarity(tuple(scale * own for own in mixed.scales), mixed.parts)

    def __rmul__(self, scale: float) -> "MixedSimilarity":
        return self * scale


@final
@dataclass(frozen=True, eq=False)
class MixedSimilarity(Similarity):
    """A scaled sum of similarities, itself in ``[0, 1]``.

    Raises:
        ValueError: If a scale is negative, or they sum to more than 1.

    Example:
        >>> from selip_core import Finding, Report
        >>> from selip_core.similarity import SyntaxSimilarity, exact
        >>> site, signal = SyntaxSimilarity(exact("site")), SyntaxSimilarity(exact("signal"))
        >>> reports = [
        ...     Report(id="a", findings=[Finding(site="pons", signal="high")]),
        ...     Report(id="b", findings=[Finding(site="pons", signal="low")]),
        ... ]
        >>> (0.25 * site + 0.75 * signal).fit(reports).batch().dense()
        tensor([[1.0000, 0.2500],
                [0.2500, 1.0000]])
    """

    scales: tuple[float, ...]
    parts: tuple[Similarity, ...]

    def __post_init__(self) -> None:
        if not all(scale >= 0 for scale in self.scales) or not sum(self.scales) <= 1 + _ROUNDING:
            raise ValueError(
                "the scales of mixed similarities must be at least 0 and sum to at most 1, got "
                f"{self.scales}"
            )

    def fit(self, reports: "Iterable[Report]") -> Self:
        """Fit every part to the corpus."""
        reports = list(reports)
        for part in self.parts:
            part.fit(reports)
        return self

    def batch(
        self,
        rows: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> ScaledSum:
        """Return the scaled sum of the operators of the parts."""
        operators = tuple(part.batch(rows, columns, dtype=dtype) for part in self.parts)
        return ScaledSum(self.scales, operators)


def _mixed(similarity: Similarity) -> MixedSimilarity:
    if isinstance(similarity, MixedSimilarity):
        return similarity
    return MixedSimilarity((1.0,), (similarity,))
