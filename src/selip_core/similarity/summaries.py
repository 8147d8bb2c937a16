"""Figures of batches, pairs and findings, as a description holds them."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class BatchSummary:
    """The target of batches of one size: means over the rows, each row divided by its sum.

    Attributes:
        size: Reports of a batch.
        batches: How many were drawn.
        own_mass: The share that the own report has of its row, in ``[0, 1]``.
        same_mass: The share of all reports that say the same, the own one included.
        distinct_mass: The same, where reports that say the same count as one: so that many of one
            kind, such as the normal ones, do not hide how diffuse the others' rows are.
        positives: The effective number of positives: exp of the entropy of the row, from 1 to
            ``size``.
        false_negatives: The share of rows that have another report in the batch with at least the
            threshold's similarity, or that says the same: what plain CLIP pushes apart.
    """

    size: int
    batches: int
    own_mass: float
    same_mass: float
    distinct_mass: float
    positives: float
    false_negatives: float


@final
@dataclass(frozen=True)
class ReportPair:
    """Two reports by their positions among the fitted ones, and by id only if asked for."""

    positions: tuple[int, int]
    similarity: float
    ids: tuple[str, str] | None = None

    def __str__(self) -> str:
        a, b = self.ids or self.positions
        return f"{a} and {b}: {self.similarity:.3g}"


@final
@dataclass(frozen=True)
class Distribution:
    """The similarities of all pairs of different reports of one random batch.

    Attributes:
        pairs: Ordered pairs.
        mean: In ``[0, 1]``.
        zeros: The share of pairs with similarity 0.
        ones: The share of pairs with similarity 1, up to rounding.
        counts: Pairs in equal bins of ``[0, 1]``.
        most_alike: The most alike pairs of those that do not say the same.
        least_alike: The least alike pairs of those above 0.
    """

    pairs: int
    mean: float
    zeros: float
    ones: float
    counts: tuple[int, ...]
    most_alike: tuple[ReportPair, ...]
    least_alike: tuple[ReportPair, ...]


@final
@dataclass(frozen=True)
class CorpusSummary:
    """The findings that a similarity was fitted to.

    Attributes:
        reports: Fitted reports.
        findings: Distinct findings, in the fields that the kernel reads.
        contents: Distinct contents of reports, the empty one included.
        normal: Reports declared normal.
        unknown: Reports without a finding that counts and not declared normal.
        without_table: Kernels with too many values for a table, as they are written.
    """

    reports: int
    findings: int
    contents: int
    normal: int
    unknown: int
    without_table: tuple[str, ...] = ()
