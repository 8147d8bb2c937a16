"""What a fitted similarity makes of batches, to be read, plotted and kept as JSON."""

import dataclasses
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final, get_args

from selip_core.similarity.cost import Cost
from selip_core.similarity.figures import (
    new_axes,
    plot_false_negatives,
    plot_own_mass,
    plot_positives,
    plot_similarities,
)
from selip_core.similarity.summaries import BatchSummary, CorpusSummary, Distribution, ReportPair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from selip_core.similarity.figures import Drawing

LEAST_OWN_MASS = 0.1
"""Own-pair mass below which too many reports share a row."""

LEAST_DISTINCT_MASS = 0.2
"""Mass of what says the same below which a target is called diffuse.

In the study of evidence, in batches of 50, all targets below 0.17 lost retrieval against CLIP on
the same batches; at 0.30 R@1 was as without a target, and above 0.5 nDCG gained most.
"""

_WIDTH = 96

Panel: TypeAlias = Literal["own mass", "positives", "similarities", "false negatives"]
"""A picture of a description."""


@final
@dataclass(frozen=True)
class Description:
    """What a similarity makes of batches drawn at random from its reports.

    A report is in a batch at most once. Reports that say the same rightly share the mass of a row:
    ``same_mass`` counts them with the own report, and a low ``own_mass`` has another reason, and
    another remedy, where they hold it.

    ``print`` shows it without a word of the reports; :meth:`as_dict` is JSON; :meth:`plot` draws.

    Attributes:
        similarity: The kind of similarity.
        reports: How many are fitted.
        seed: Of the draw.
        threshold: Similarity from which on another report counts as a positive.
        asked: The batch sizes that were asked for; larger ones than the corpus were cut to it.
        batches: A summary a batch size.
        distribution: Of similarities, in a batch of the largest size; ``None`` of a single report.
        corpora: The findings of each syntax similarity in it.
        costs: For each of these, a cost a batch size.
    """

    similarity: str
    reports: int
    seed: int
    threshold: float
    asked: tuple[int, ...]
    batches: tuple[BatchSummary, ...]
    distribution: Distribution | None
    corpora: tuple[CorpusSummary, ...] = ()
    costs: tuple[tuple[Cost, ...], ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against this similarity as a target."""
        diffuse = [each for each in self.batches if each.distinct_mass < LEAST_DISTINCT_MASS]
        low = [each for each in self.batches if each.own_mass < LEAST_OWN_MASS]
        shared = [each for each in low if each not in diffuse]
        found = []
        if diffuse:
            found.append(
                f"of a distinct report's row less than {LEAST_DISTINCT_MASS} is on what says the "
                f"same {_in_batches(diffuse, 'distinct_mass')}: a target so diffuse works against "
                "the alignment; sharpen it with gamma, min_similarity, top_k or own_floor, or use "
                "smaller batches"
            )
        if shared:
            found.append(
                f"own-pair mass is below {LEAST_OWN_MASS} {_in_batches(shared, 'own_mass')}, but "
                "reports that say the same rightly share it "
                f"({_listed(shared, 'same_mass')} with them); limit how many of them a batch holds"
            )
        return tuple(found)

    @property
    def suggestions(self) -> tuple[str, ...]:
        """What would make its operators cheaper."""
        found = []
        quadratic = [costs[-1] for costs in self.costs if costs[-1].is_quadratic]
        if quadratic:
            factored = any(cost.repetition <= 0.5 for cost in quadratic)
            found.append(
                "the cost grows with the square of the batch's distinct contents: min_similarity "
                "or top_k make it sparse, a semantic similarity is of low rank"
                + (", and the plain mean (aggregation='mean', gamma=1) is factored" * factored)
            )
        if any(corpus.without_table for corpus in self.corpora):
            found.append(
                "a field that gets no table is scored in each batch: make batches in loader "
                "workers, or compare fewer values, as by exact(field)"
            )
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        told = {"warnings": self.warnings, "suggestions": self.suggestions}
        return {**dataclasses.asdict(self), **told}

    def plot(
        self, panel: Panel | None = None, *, axes: "Axes | None" = None
    ) -> "tuple[Figure | SubFigure, Axes | tuple[Axes, ...]]":
        """Draw it, and return the figure and its axes; no display is needed.

        Args:
            panel: ``"own mass"``, ``"positives"`` or ``"false negatives"`` against the batch size,
                or ``"similarities"``, their histogram; ``None``: all four, in a figure of its own.
            axes: Where to draw one panel; ``None``: a new figure.

        Raises:
            ImportError: If matplotlib is not installed; the message names the extra.
            ValueError: If there is no such panel, or axes are given for all four.

        Example:
            >>> from selip_core import Finding, Report, SyntaxSimilarity
            >>> sites = ["pons", "insula", "thalamus", "pons"]
            >>> reports = [
            ...     Report(id=str(i), findings=[Finding(site=site)]) for i, site in enumerate(sites)
            ... ]
            >>> description = SyntaxSimilarity().fit(reports).describe((2, 4))
            >>> figure, axes = description.plot("own mass")
            >>> axes.get_xlabel()
            'reports in a batch'
        """
        if panel is not None:
            return self._plot(panel, axes)
        if axes is not None:
            raise ValueError(
                "axes hold one panel; name it, as in plot('own mass', axes=axes), or give no axes"
            )
        figure, four = new_axes(2, 2)
        for name, place in zip(get_args(Panel), four, strict=True):
            self._plot(name, place)
        return figure, four

    def _plot(self, panel: Panel, axes: "Axes | None") -> "Drawing":
        batches = self.batches
        sizes = [batch.size for batch in batches]
        if panel == "own mass":
            own, same = [b.own_mass for b in batches], [b.same_mass for b in batches]
            distinct = [b.distinct_mass for b in batches]
            return plot_own_mass(sizes, own, same, distinct, LEAST_DISTINCT_MASS, axes=axes)
        if panel == "positives":
            return plot_positives(sizes, [b.positives for b in batches], axes=axes)
        if panel == "false negatives":
            shares = [b.false_negatives for b in batches]
            return plot_false_negatives(sizes, shares, self.threshold, axes=axes)
        if panel == "similarities":
            counts = self.distribution.counts if self.distribution else ()
            return plot_similarities(counts, axes=axes)
        raise ValueError(f"panel must be one of {get_args(Panel)} or None, got {panel!r}")

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.similarity} of {self.reports:,} reports; targets of random batches:"
        yield from _table(
            ("batch", "own pair", "with same", "distinct", "positives", "false negatives"),
            [
                (
                    f"{batch.size:,}",
                    f"{batch.own_mass:.3f}",
                    f"{batch.same_mass:.3f}",
                    f"{batch.distinct_mass:.3f}",
                    f"{batch.positives:.1f}",
                    f"{batch.false_negatives:.1%}",
                )
                for batch in self.batches
            ],
        )
        yield "own pair: mean share of the own report in its row; with same: with those that say"
        yield "the same; distinct: with same, where those that say the same count once; positives:"
        yield "their effective number, exp of the entropy; false negatives: rows with another of"
        yield f"similarity {self.threshold:g} or more, or that says the same"
        cut = [size for size in self.asked if size > self.reports]
        if cut:
            yield f"cut to all fitted reports: batches of {', '.join(map(str, cut))}"
        yield from self._distribution_lines()
        for corpus, costs in zip(self.corpora, self.costs, strict=True):
            yield ""
            yield from _corpus_lines(corpus, costs)
        for warning in self.warnings:
            yield from textwrap.wrap(f"WARNING: {warning}", _WIDTH, subsequent_indent="  ")
        for suggestion in self.suggestions:
            yield from textwrap.wrap(f"suggestion: {suggestion}", _WIDTH, subsequent_indent="  ")

    def _distribution_lines(self) -> Iterator[str]:
        found = self.distribution
        if found is None:
            return
        yield ""
        yield (
            f"similarities of {found.pairs:,} pairs: mean {found.mean:.3f}, {found.zeros:.1%} are "
            f"0, {found.ones:.1%} are 1"
        )
        named = "ids" if found.most_alike and found.most_alike[0].ids else "positions"
        yield f"most alike, not saying the same ({named}): {_joined(found.most_alike)}"
        yield f"least alike, above 0 ({named}): {_joined(found.least_alike)}"


def _corpus_lines(corpus: CorpusSummary, costs: Sequence[Cost]) -> Iterator[str]:
    yield (
        f"{corpus.findings:,} distinct findings, {corpus.contents:,} contents of reports; "
        f"{corpus.normal:,} normal, {corpus.unknown:,} unknown"
    )
    yield from (f"gets no table: scored per batch: {kernel}" for kernel in corpus.without_table)
    yield from _table(
        ("batch", "U", "U/N", "contents", "path", "product", "of dense", "memory", "of dense"),
        [
            (
                f"{cost.reports:,}",
                f"{cost.findings:,}",
                f"{cost.repetition:.2f}",
                f"{cost.contents:,}",
                f"{cost.path}, again" if cost.recomputes else cost.path,
                _short(cost.multiply_adds),
                _short(cost.dense_multiply_adds),
                f"{_short(cost.nbytes)}B",
                f"{_short(cost.dense_nbytes)}B",
            )
            for cost in costs
        ],
    )
    yield (
        f"predicted: product: multiply-adds of one with d = {costs[0].width}; of dense: the same "
        "of a table N x N"
    )
    if any(cost.recomputes for cost in costs):
        yield "again: each product computes the similarities again, in blocks of rows"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, right-aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        yield "  " + "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True))


def _short(number: float) -> str:
    """Return a number with three digits and a decimal prefix, as 1.23 M."""
    thousands = 0
    while number >= 999.5:
        number, thousands = number / 1000, thousands + 1
    return f"{number:.3g} {('', 'k', 'M', 'G', 'T', 'P')[thousands]}"


def _joined(pairs: Sequence[ReportPair]) -> str:
    return "; ".join(map(str, pairs)) or "none"


def _in_batches(batches: Sequence[BatchSummary], field: str) -> str:
    sizes = ", ".join(str(batch.size) for batch in batches)
    return f"in batches of {sizes} ({_listed(batches, field)})"


def _listed(batches: Sequence[BatchSummary], field: str) -> str:
    return ", ".join(f"{getattr(batch, field):.2g}" for batch in batches)
