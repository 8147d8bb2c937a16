"""Measuring what a similarity makes of random batches."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.cost import Cost
from selip_core.similarity.description import Description
from selip_core.similarity.operators import Index, ScaledSum, SimilarityOperator
from selip_core.similarity.report_index import ReportIndex
from selip_core.similarity.summaries import BatchSummary, CorpusSummary, Distribution, ReportPair

if TYPE_CHECKING:
    import numpy

BATCH_SIZES = (16, 64, 256, 1024, 4096)

_BINS = 20
_MOST_BATCHES = 64
_BLOCK_VALUES = 2**22
_ROUNDING = 1e-6


def _no_costs(rows: Index, operator: SimilarityOperator) -> tuple[Cost, ...]:
    return ()


@final
@dataclass(frozen=True, eq=False)
class Subject:
    """What is described of a similarity.

    Attributes:
        name: Its kind.
        index: The fitted reports.
        same: For each of them a label, equal for reports that say the same.
        batch: From positions of reports to their operator.
        corpora: The findings it was fitted to; several where similarities are mixed.
        costs: From positions of reports and their operator to a cost a corpus.
    """

    name: str
    index: ReportIndex
    same: Index
    batch: Callable[[Index], SimilarityOperator]
    corpora: tuple[CorpusSummary, ...] = ()
    costs: Callable[[Index, SimilarityOperator], tuple[Cost, ...]] = _no_costs


def mixed_subject(
    scales: Sequence[float],
    subjects: Sequence[Subject],
    batch: Callable[[Index], SimilarityOperator],
) -> Subject:
    """Return the subject of a scaled sum: reports say the same if they do so to every part."""

    def costs(rows: Index, operator: SimilarityOperator) -> tuple[Cost, ...]:
        assert isinstance(operator, ScaledSum)
        parts = zip(subjects, operator.operators, strict=True)
        return tuple(cost for subject, part in parts for cost in subject.costs(rows, part))

    sayings = torch.stack([subject.same for subject in subjects])
    terms = zip(scales, subjects, strict=True)
    return Subject(
        name=" + ".join(f"{scale:g} * {subject.name}" for scale, subject in terms),
        index=subjects[0].index,
        same=torch.unique(sayings, dim=1, return_inverse=True)[1],
        batch=batch,
        corpora=tuple(corpus for subject in subjects for corpus in subject.corpora),
        costs=costs,
    )


def describe(
    subject: Subject,
    batch_sizes: Sequence[int],
    *,
    seed: int,
    samples: int,
    threshold: float,
    pairs: int,
    show_ids: bool,
) -> Description:
    """Return what a similarity makes of batches; see :meth:`Similarity.describe`.

    Raises:
        ValueError: If there is no batch size, or an argument is out of range.
    """
    sizes = _checked_sizes(batch_sizes, len(subject.index))
    _check_range(samples=(samples, 1, math.inf), threshold=(threshold, 0, 1))
    _check_range(pairs=(pairs, 0, math.inf))
    import numpy

    random = numpy.random.default_rng(seed)
    summaries, costs, distribution = [], [], None
    for size in sizes:
        most = 1 if size == len(subject.index) else _MOST_BATCHES
        batches = min(most, max(1, samples // size))
        measures = []
        for number in range(batches):
            rows = _drawn(random, len(subject.index), size)
            operator = subject.batch(rows)
            measures.append(_measured(operator, subject.same[rows], threshold))
            if number == 0:
                costs.append(subject.costs(rows, operator))
            if number == 0 and size == sizes[-1] > 1:
                distribution = _distribution(operator, rows, subject, pairs, show_ids)
        summaries.append(_summary(size, batches, torch.cat(measures, dim=1)))
    return Description(
        similarity=subject.name,
        reports=len(subject.index),
        seed=seed,
        threshold=threshold,
        asked=tuple(batch_sizes),
        batches=tuple(summaries),
        distribution=distribution,
        corpora=subject.corpora,
        costs=tuple(zip(*costs, strict=True)),
    )


def _checked_sizes(batch_sizes: Sequence[int], reports: int) -> list[int]:
    """Return the distinct sizes, none larger than the corpus, in order."""
    if not batch_sizes or min(batch_sizes) < 1:
        raise ValueError(f"batch_sizes must be positive, at least one, got {tuple(batch_sizes)}")
    return sorted({min(size, reports) for size in batch_sizes})


def _check_range(**arguments: tuple[float, float, float]) -> None:
    for name, (value, least, most) in arguments.items():
        if not least <= value <= most:
            allowed = f"at least {least}" if most == math.inf else f"in [{least}, {most}]"
            raise ValueError(f"{name} must be {allowed}, got {value}")


def _drawn(random: "numpy.random.Generator", reports: int, size: int) -> Index:
    """Return the positions of different reports."""
    if size == reports:
        return torch.arange(reports)
    return torch.from_numpy(random.choice(reports, size, replace=False, shuffle=False))


def _summary(size: int, batches: int, measures: Float[Tensor, "5 rows"]) -> BatchSummary:
    own, same, positives, false_negatives, alone = measures
    return BatchSummary(
        size,
        batches,
        own_mass=own.mean().item(),
        same_mass=same.mean().item(),
        distinct_mass=((same * alone).sum() / alone.sum()).item(),
        positives=positives.mean().item(),
        false_negatives=false_negatives.mean().item(),
    )


def _measured(
    operator: SimilarityOperator, same: Index, threshold: float
) -> Float[Tensor, "5 rows"]:
    """Return what is summarised of each row; last, one over the rows that say the same."""
    return torch.cat(
        [
            _measured_rows(values, own, same[block, None] == same, threshold)
            for block, values, own in _blocks(operator)
        ],
        dim=1,
    )


def _measured_rows(
    values: Tensor, own: Tensor, same: Tensor, threshold: float
) -> Float[Tensor, "5 rows"]:
    sums = values.sum(1).clamp(min=torch.finfo(values.dtype).tiny)
    # -sum p log p with p = s / r
    entropy = sums.log() - torch.xlogy(values, values).sum(1) / sums
    alike = ((values >= threshold) | same) & ~own
    return torch.stack(
        [
            values[own] / sums,
            (values * same).sum(1) / sums,
            entropy.exp(),
            alike.any(1).to(values.dtype),
            1 / same.sum(1).to(values.dtype),
        ]
    ).double()


def _distribution(
    operator: SimilarityOperator, rows: Index, subject: Subject, pairs: int, show_ids: bool
) -> Distribution:
    """Return how similarities of different reports are distributed in one batch."""
    same = subject.same[rows]
    counts = torch.zeros(_BINS, dtype=torch.float64)
    total, zeros, ones = 0.0, 0, 0
    most, least = _Extremes(pairs, largest=True), _Extremes(pairs, largest=False)
    for block, values, own in _blocks(operator):
        others = values[~own].clamp(max=1)
        counts += torch.histc(others, _BINS, 0, 1)
        total += float(others.sum(dtype=torch.float64))
        zeros += int((others == 0).sum())
        ones += int((others >= 1 - _ROUNDING).sum())
        # Each pair once
        later = torch.ones_like(own).triu(block.start + 1)
        most.take(values, later & (same[block, None] != same), block.start)
        least.take(values, later & (values > 0), block.start)
    number = rows.shape[0] * (rows.shape[0] - 1)
    ids = subject.index.ids if show_ids else None
    return Distribution(
        pairs=number,
        mean=total / number,
        zeros=zeros / number,
        ones=ones / number,
        counts=tuple(counts.long().tolist()),
        most_alike=tuple(most.pairs(rows, ids)),
        least_alike=tuple(least.pairs(rows, ids)),
    )


@final
class _Extremes:
    """The pairs with the largest or the smallest similarities so far."""

    def __init__(self, count: int, *, largest: bool) -> None:
        self._count = count
        self._largest = largest
        self._found: list[tuple[float, int, int]] = []

    def take(self, values: Tensor, allowed: Tensor, start: int) -> None:
        """Look at the allowed pairs of a block of rows."""
        worst = -1.0 if self._largest else 2.0
        flat = values.masked_fill(~allowed, worst).flatten()
        top = flat.topk(min(self._count, flat.shape[0]), largest=self._largest)
        places = torch.stack(
            [top.indices // values.shape[1] + start, top.indices % values.shape[1]]
        )
        found = zip(top.values.tolist(), *places.tolist(), strict=True)
        self._found += [pair for pair in found if pair[0] != worst]
        self._found.sort(key=lambda pair: (-pair[0] if self._largest else pair[0], pair[1:]))
        del self._found[self._count :]

    def pairs(self, rows: Index, ids: Sequence[str] | None) -> Iterator[ReportPair]:
        """Yield them by the positions of their reports."""
        for value, row, column in self._found:
            a, b = int(rows[row]), int(rows[column])
            yield ReportPair((a, b), value, None if ids is None else (ids[a], ids[b]))


def _blocks(operator: SimilarityOperator) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield the table in blocks of rows, and where in each the own reports are."""
    rows, columns = operator.shape
    height = max(1, _BLOCK_VALUES // columns)
    places = torch.arange(columns)
    for start in range(0, rows, height):
        block = slice(start, min(start + height, rows))
        yield block, operator.tile(block, slice(None)), places[block, None] == places
