"""What is described of a syntax similarity besides its batches: its findings and its costs."""

from collections.abc import Callable

import torch

from selip_core.similarity.corpus import Corpus
from selip_core.similarity.cost import Cost, predict_cost
from selip_core.similarity.describe import Subject
from selip_core.similarity.kernels.table import TableKernel
from selip_core.similarity.operators import Factored, Index, ScaledSum, SimilarityOperator, Sparse
from selip_core.similarity.paths import Contents
from selip_core.similarity.report_index import ReportIndex
from selip_core.similarity.summaries import CorpusSummary


def syntax_subject(
    contents: Contents,
    index: ReportIndex,
    batch: Callable[[Index], SimilarityOperator],
    *,
    has_floor: bool,
) -> Subject:
    """Return the subject: unknown reports say something of their own each, normal ones the same.

    Args:
        contents: The similarity of contents.
        index: The reports; each says twice its content, plus one if it is normal.
        batch: From positions of reports to their operator.
        has_floor: Whether the own report has a floor.
    """
    of_reports, normal = index.says // 2, index.says % 2 == 1
    unknown = (contents.corpus.sizes[of_reports] == 0) & ~normal
    own_label = -1 - torch.arange(len(index))

    def costs(rows: Index, operator: SimilarityOperator) -> tuple[Cost, ...]:
        entries = _kept_entries(operator) if contents.shaping.is_sparse else 0
        return (predict_cost(contents, of_reports[rows], entries=entries, has_floor=has_floor),)

    return Subject(
        name="SyntaxSimilarity",
        index=index,
        same=torch.where(unknown, own_label, index.says),
        batch=batch,
        corpora=(
            CorpusSummary(
                reports=len(index),
                findings=next(iter(contents.corpus.codes.values())).shape[0],
                contents=contents.corpus.sizes.shape[0],
                normal=int(normal.sum()),
                unknown=int(unknown.sum()),
                without_table=_without_table(contents.corpus),
            ),
        ),
        costs=costs,
    )


def _without_table(corpus: Corpus) -> tuple[str, ...]:
    """Return the kernels whose fields have too many values for a table."""
    return tuple(
        f"{leaf} ({len(values.strings):,} values)"
        for leaf, values in corpus.values.items()
        if isinstance(leaf, TableKernel) and values.strings and "table" not in values.tensors
    )


def _kept_entries(operator: SimilarityOperator) -> int:
    """Return how many similarities of contents shaping has kept."""
    assert isinstance(operator, ScaledSum)
    unequal = operator.operators[0]
    assert isinstance(unequal, Factored)
    assert isinstance(unequal.kernel, Sparse)
    return unequal.kernel.values.shape[0]
