"""A similarity of reports: fitted to a corpus once, asked for an operator every step."""

import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias, final

import torch

from selip_core.similarity.operators import Index, ScaledSum, SimilarityOperator
from selip_core.similarity.report_index import ReportIndex

if TYPE_CHECKING:
    from selip_core.findings import Report

Rows: TypeAlias = Sequence[str] | Index | None
"""Ids of fitted reports, or their positions (int64) among the fitted; ``None``: all."""

_ROUNDING = 1e-9


class Similarity(abc.ABC):
    """What makes two reports alike.

    Similarities mix by ``0.5 * syntax + 0.5 * semantic``.
    """

    @abc.abstractmethod
    def fit(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Learn the corpus; only fitted reports can be asked for. Return ``self``.

        Args:
            reports: Read once, one by one; none is kept.
            progress: Show a bar on standard error.

        Raises:
            ValueError: If there is no report, two different reports share an id, or the reports
                lack what this similarity reads.
        """

    @abc.abstractmethod
    def extend(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Learn further reports besides the fitted ones, which keep their positions.

        A report that is fitted already may come again, if it says the same.

        Args:
            reports: Read once, one by one; none is kept.
            progress: Show a bar on standard error.

        Raises:
            ValueError: As :meth:`fit`, and if nothing was fitted. What was fitted stays as it was.
        """

    @property
    @abc.abstractmethod
    def index(self) -> ReportIndex:
        """The fitted reports and their positions."""

    @abc.abstractmethod
    def batch(
        self,
        rows: Rows = None,
        columns: Rows = None,
        *,
        dtype: torch.dtype = torch.float32,
        show_ids: bool = False,
    ) -> SimilarityOperator:
        """Return the similarity of some fitted reports as an operator.

        Args:
            rows: Ids of the rows, or their positions among the fitted reports (int64, as
                :meth:`gather_positions` gives them); ``None``: all fitted reports, in their order.
            columns: Likewise; ``None``: those of the rows.
            dtype: float32 or float64.
            show_ids: Name unknown ids in the error; ids can be accession numbers.

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

    def fit(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Fit every part to the corpus."""
        reports = list(reports)
        for part in self.parts:
            part.fit(reports, progress=progress)
        return self

    def extend(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Extend every part."""
        reports = list(reports)
        for part in self.parts:
            part.extend(reports, progress=progress)
        return self

    @property
    def index(self) -> ReportIndex:
        """The fitted reports, alike in all parts."""
        return self.parts[0].index

    def batch(
        self,
        rows: Rows = None,
        columns: Rows = None,
        *,
        dtype: torch.dtype = torch.float32,
        show_ids: bool = False,
    ) -> ScaledSum:
        """Return the scaled sum of the operators of the parts."""
        operators = tuple(
            part.batch(rows, columns, dtype=dtype, show_ids=show_ids) for part in self.parts
        )
        return ScaledSum(self.scales, operators)


def _mixed(similarity: Similarity) -> MixedSimilarity:
    if isinstance(similarity, MixedSimilarity):
        return similarity
    return MixedSimilarity((1.0,), (similarity,))


def watched(reports: "Iterable[Report]", progress: bool) -> "Iterator[Report]":
    """Yield the reports, with a bar if asked for.

    Raises:
        ValueError: If something else than a report comes.
    """
    if progress:
        from tqdm import tqdm

        reports = tqdm(reports, desc="reports", unit="report")
    for number, report in enumerate(reports):
        if not hasattr(report, "findings"):
            raise ValueError(
                f"reports must be selip_core.Report objects, got {type(report).__name__} at "
                f"position {number}; read JSON with Report.model_validate or read_reports"
            )
        yield report
