"""What the operator of a batch takes, foretold from the batch."""

from dataclasses import dataclass
from typing import final

import torch

from selip_core.similarity.operators import Index
from selip_core.similarity.operators.row_blocks import LARGEST_TABLE
from selip_core.similarity.paths import Contents, Path, choose_path

_INDEX_BYTES = 8


@final
@dataclass(frozen=True)
class Cost:
    """What the operator of ``N`` reports takes, next to a table of ``N x N``.

    With ``E`` findings of which ``U`` are distinct and ``C`` distinct contents of reports, one
    product with ``N x d`` takes these multiply-adds (and ``2 N d`` for the reports that count as
    the same):

    - path ``"findings"``, ``W K W'``: ``(2 E + U^2) d``;
    - ``"table"`` and ``"row blocks"``: ``(2 N + C^2) d``;
    - ``"sparse"``: ``(2 N + entries) d``.

    From 8192 distinct findings or contents on no table between them is kept: each product computes
    it again, in blocks of rows, and the operator holds the findings of the whole corpus instead.

    Attributes:
        reports: ``N``.
        findings: ``U``, distinct findings of the batch.
        contents: ``C``, distinct contents of its reports.
        path: How the operator is built: through ``"findings"``, or through distinct contents, as a
            ``"table"``, ``"sparse"`` or in ``"row blocks"``.
        recomputes: Whether each product computes similarities again.
        width: ``d``.
        multiply_adds: Of one product.
        nbytes: What the operator holds.
        dense_multiply_adds: ``N^2 d``.
        dense_nbytes: Of ``N^2`` values.
    """

    reports: int
    findings: int
    contents: int
    path: Path
    recomputes: bool
    width: int
    multiply_adds: int
    nbytes: int
    dense_multiply_adds: int
    dense_nbytes: int

    @property
    def repetition(self) -> float:
        """``U / N``; up to 1/2 the plain mean is factored."""
        return self.findings / self.reports

    @property
    def is_quadratic(self) -> bool:
        """Whether it grows with the square of the number of distinct contents."""
        return self.path in ("table", "row blocks")


def predict_cost(
    contents: Contents,
    rows: Index,
    *,
    entries: int = 0,
    has_floor: bool = False,
    dtype: torch.dtype = torch.float32,
    width: int = 512,
) -> Cost:
    """Return what the operator of a batch will take; nothing of it is built.

    Args:
        contents: The similarity of contents.
        rows: The content of each report of the batch.
        entries: How many entries shaping keeps, where it keeps few; only the similarities tell.
        has_floor: Whether the own report has a floor, which gives rows and columns weights of their
            own.
        dtype: float32 or float64.
        width: Columns ``d`` of what is multiplied.
    """
    reports, corpus = rows.shape[0], contents.corpus
    used = torch.unique(rows)
    findings, distinct = corpus.used(used).shape[0], used.shape[0]
    path = choose_path(contents, used, used, reports)
    through_findings = path == "findings"
    weights = int(corpus.sizes[rows].sum()) if through_findings else reports
    inner = findings if through_findings else distinct
    recomputes = path != "sparse" and inner >= LARGEST_TABLE
    size = dtype.itemsize
    if path == "sparse":
        kernel_bytes = (inner + 1) * _INDEX_BYTES + entries * (_INDEX_BYTES + size)
    elif recomputes:
        kernel_bytes = 2 * inner * _INDEX_BYTES + corpus.nbytes
    else:
        kernel_bytes = inner**2 * size
    weight_bytes = (reports + 1) * _INDEX_BYTES + weights * (_INDEX_BYTES + size)
    same_bytes = reports * (2 * _INDEX_BYTES + size)
    products = 2 * weights + (entries if path == "sparse" else inner**2) + 2 * reports
    return Cost(
        reports=reports,
        findings=findings,
        contents=distinct,
        path=path,
        recomputes=recomputes,
        width=width,
        multiply_adds=products * width,
        nbytes=kernel_bytes + (2 if has_floor else 1) * weight_bytes + same_bytes,
        dense_multiply_adds=reports**2 * width,
        dense_nbytes=reports**2 * size,
    )
