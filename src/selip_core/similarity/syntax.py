"""Similarity of reports by the fields of their findings."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Self, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selip_core.similarity.aggregation import Aggregation, Best, Mean, Weights
from selip_core.similarity.corpus import Corpus
from selip_core.similarity.kernels import FindingKernel, dice, exact
from selip_core.similarity.operators import (
    Dense,
    Factored,
    Identity,
    Index,
    SimilarityOperator,
    sparse_matrix,
)
from selip_core.similarity.report_index import ReportIndex
from selip_core.similarity.similarity import Similarity

if TYPE_CHECKING:
    from selip_core.findings import Report

DEFAULT_KERNEL = exact("negated") * (
    0.4 * exact("site") + 0.2 * exact("laterality") + 0.4 * exact("signal")
)
"""Equal site, side and signal; a negated finding never matches an affirmed one."""

_AGGREGATIONS: dict[str, Aggregation] = {"best": Best(), "mean": Mean()}
_LARGEST_TABLE = 8192
_NORMAL_LABEL = -1
_ROUNDING = 1e-9


@final
class SyntaxSimilarity(Similarity):
    """How alike two reports are by their findings, field by field, in ``[0, 1]``.

    Findings are compared by a kernel ``k``, reports by the best matches of their findings (or by
    the mean over all pairs), sharpened: ``S = aggregate(k) ** gamma``. Then, in this order: equal
    reports, normal reports, unknown reports, and equal ids (always 1).

    Args:
        kernel: Compares two findings; its weights sum to at most 1. By default
            :data:`DEFAULT_KERNEL`.
        aggregation: ``"best"``: ``(mean_i max_j k_ij + mean_j max_i k_ij) / 2``;
            ``"mean"``: over all pairs, as in the paper.
        gamma: Power of the reports' similarity; above 1 it sharpens.
        equal: Reports with the same findings (in the fields that the kernel reads) have similarity
            1 (``"one"``), or what the aggregation gives (``"aggregate"``, as in the paper).
        normal: Two normal reports have similarity 1 (``"alike"``), or 0 (``"paper"``). A normal
            and an abnormal one always have 0.

    Raises:
        ValueError: If an argument is not one of these.

    A report without findings that is not declared normal is unknown: similar to itself only.

    Example:
        >>> from selip_core import Finding, Report
        >>> reports = [
        ...     Report(id="a", findings=[Finding(site="pons", signal="high")]),
        ...     Report(id="b", findings=[Finding(site="pons", signal="low")]),
        ...     Report(id="c", normal=True),
        ...     Report(id="d", normal=True),
        ... ]
        >>> similarity = SyntaxSimilarity(exact("site"), gamma=1.0).fit(reports)
        >>> similarity.batch(["a", "c"], ["b", "d"]).dense()
        tensor([[1., 0.],
                [0., 1.]])

    Source:
        arXiv 2503.19801 for the mean over pairs (:meth:`paper`); best match and sharpening are
        ours, because a diffuse target works against the alignment.
    """

    def __init__(
        self,
        kernel: FindingKernel = DEFAULT_KERNEL,
        *,
        aggregation: Literal["best", "mean"] = "best",
        gamma: float = 8.0,
        equal: Literal["one", "aggregate"] = "one",
        normal: Literal["alike", "paper"] = "alike",
    ) -> None:
        if not isinstance(kernel, FindingKernel):
            raise ValueError(
                "kernel must be a finding kernel, such as exact('site') * dice('text'), got "
                f"{type(kernel).__name__}"
            )
        if not kernel.largest <= 1 + _ROUNDING:
            raise ValueError(
                f"the weights of a kernel must sum to at most 1, got {kernel.largest:g}; scale it"
            )
        if not 0 < gamma < float("inf"):
            raise ValueError(f"gamma must be finite and positive, got {gamma}")
        _check_choice("aggregation", aggregation, tuple(_AGGREGATIONS))
        _check_choice("equal", equal, ("one", "aggregate"))
        _check_choice("normal", normal, ("alike", "paper"))
        self.kernel = kernel
        self.aggregation = aggregation
        self.gamma = gamma
        self.equal = equal
        self.normal = normal
        self._fitted: _Fitted | None = None

    @classmethod
    def paper(cls, site_weight: float = 0.5, signal_weight: float = 0.5) -> "SyntaxSimilarity":
        """Return the similarity of the paper, as its reference implementation computes it.

        ``S_ij`` is the mean over all pairs of findings of
        ``(site_weight [site = site'] + signal_weight [signal = signal']) dice(text, text')``;
        1 on the diagonal, 0 for normal reports, and equal reports are not treated apart.

        Example:
            >>> SyntaxSimilarity.paper(site_weight=0.7, signal_weight=0.3).aggregation
            'mean'

        Source:
            arXiv 2503.19801; weights 0.5 and 0.5 there.
        """
        fields = site_weight * exact("site") + signal_weight * exact("signal")
        return cls(
            fields * dice("text"), aggregation="mean", gamma=1.0, equal="aggregate", normal="paper"
        )

    def fit(self, reports: "Iterable[Report]") -> Self:
        """Learn the corpus: its distinct findings and the tables between their values.

        Raises:
            ValueError: If there is no report, or two different reports share an id.
        """
        index = ReportIndex(reports)
        with _full_precision():
            corpus = Corpus.of(index.reports, self.kernel)
            own = _AGGREGATIONS[self.aggregation].own(corpus) ** self.gamma
        self._fitted = _Fitted(index, corpus, self._labels(index, corpus), own)
        return self

    def batch(
        self,
        rows: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> SimilarityOperator:
        """Return the similarity of some fitted reports as an operator.

        The plain mean is factored through the distinct findings where these are at most half as
        many as the reports; otherwise, below 8192 reports, it is a table. Every other similarity
        is factored through the distinct contents of reports.

        See :meth:`Similarity.batch` for the arguments and errors.
        """
        if self._fitted is None:
            raise ValueError("this similarity is not fitted; call fit(reports) first")
        fitted = self._fitted
        r = fitted.index.positions(rows, "rows")
        c = r if columns is None else fitted.index.positions(columns, "columns")
        contents = fitted.corpus.contents
        same = Identity(fitted.labels[r], fitted.labels[c], dtype)
        excess = (1 - fitted.own[contents[r]]).clamp(min=0).to(dtype)
        with _full_precision():
            if self.aggregation == "mean" and self.gamma == 1:
                return _through_findings(fitted.corpus, contents[r], contents[c], same, excess)
            table = partial(_AGGREGATIONS[self.aggregation].table, fitted.corpus, dtype=dtype)
            return _through_contents(table, self.gamma, contents[r], contents[c], same, excess)

    def _labels(self, index: ReportIndex, corpus: Corpus) -> Tensor:
        """Return equal labels for reports that count as the same: similarity 1."""
        count = len(index.reports)
        own_label = torch.arange(count) + corpus.sizes.shape[0]
        labels = own_label if self.equal == "aggregate" else corpus.contents.clone()
        normal = torch.tensor([bool(report.normal) for report in index.reports])
        empty = corpus.sizes[corpus.contents] == 0
        labels = torch.where(empty, own_label, labels)
        return torch.where(normal, _NORMAL_LABEL, labels) if self.normal == "alike" else labels


@final
@dataclass(frozen=True, eq=False)
class _Fitted:
    index: ReportIndex
    corpus: Corpus
    labels: Int[Tensor, " reports"]
    own: Float[Tensor, " contents"]


def _full_precision() -> torch.autocast:
    """Keep autocast out: a training loop may ask for its target inside it."""
    return torch.autocast("cpu", enabled=False)


def _through_findings(
    corpus: Corpus, rows: Index, columns: Index, same: Identity, excess: Tensor
) -> SimilarityOperator:
    """Return the mean over pairs, factored where findings repeat enough to make that cheaper."""
    left, right = Weights.of(corpus, rows, same.dtype), Weights.of(corpus, columns, same.dtype)
    kernel = corpus.compare(left.used[:, None], right.used[None, :]).to(same.dtype)
    operator = Factored(left.matrix, kernel, right.matrix, same, excess)
    reports = max(same.shape)
    if 2 * max(kernel.shape) > reports and reports < _LARGEST_TABLE:
        return Dense(operator.dense())
    return operator


def _through_contents(
    table: Callable[[Index, Index], Tensor],
    gamma: float,
    rows: Index,
    columns: Index,
    same: Identity,
    excess: Tensor,
) -> Factored:
    """Return the similarity of distinct contents, spread over the reports that have them."""
    row_contents, row_places = torch.unique(rows, return_inverse=True)
    column_contents, column_places = torch.unique(columns, return_inverse=True)
    values = table(row_contents, column_contents) ** gamma
    left = _one_hot(row_places, values.shape[0], values.dtype)
    right = _one_hot(column_places, values.shape[1], values.dtype)
    return Factored(left, values, right, same, excess)


def _one_hot(places: Index, size: int, dtype: torch.dtype) -> Float[Tensor, "places size"]:
    count = places.shape[0]
    ones = torch.ones(count, dtype=dtype)
    return sparse_matrix(torch.arange(count), places, ones, (count, size))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")
