"""How the operator of a batch is built: through findings, or through the contents of reports."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.aggregation import Aggregation
from selip_core.similarity.corpus import Corpus
from selip_core.similarity.operators import (
    BlockSource,
    Dense,
    Factored,
    Index,
    RowBlocks,
    SimilarityOperator,
    Sparse,
)
from selip_core.similarity.operators.row_blocks import LARGEST_TABLE
from selip_core.similarity.shaping import Shaping
from selip_core.similarity.sparsify import sparsify

Path: TypeAlias = Literal["findings", "table", "sparse", "row blocks"]
"""What an operator is built from:

- ``"findings"``: ``W K V'`` with the kernel of distinct findings;
- ``"table"``: a table between the distinct contents of reports, spread over the reports;
- ``"sparse"``: the entries of that table that shaping keeps;
- ``"row blocks"``: that table, never kept: blocks of rows are computed in each product.
"""


@final
@dataclass(frozen=True, eq=False)
class Contents(BlockSource):
    """The similarity of contents of reports, shaped, in blocks.

    Args:
        corpus: The contents.
        aggregation: From findings to contents.
        shaping: Applied to what the aggregation gives.
        own: What the aggregation gives each content with itself, in float64.
    """

    corpus: Corpus
    aggregation: Aggregation
    shaping: Shaping
    own: Float[Tensor, " contents"]

    @property
    def is_bilinear(self) -> bool:
        """Whether it is a plain mean over pairs of findings."""
        return self.aggregation.is_bilinear and self.shaping.is_none

    @property
    def nbytes(self) -> int:
        """Bytes of the corpus."""
        return self.corpus.nbytes

    def block(
        self, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return the shaped similarities; ``top_k`` is not looked at."""
        values = self.aggregation.block(self.corpus, rows, columns, dtype)
        if self.shaping.min_similarity == 0:
            return self.shaping.apply(values)
        # Own pairs are lifted to 1 from their value in float64: rounding must not put them on the
        # other side of the threshold here.
        is_own = rows[:, None] == columns[None, :]
        own = self.shaping.apply(self.own[rows]).to(dtype)[:, None]
        return torch.where(is_own, own, self.shaping.apply(values))


def choose_path(contents: Contents, rows: Index, columns: Index, reports: int) -> Path:
    """Return the path of a batch: one rule, for whoever builds and for whoever describes.

    Args:
        contents: The similarity of contents.
        rows: The distinct contents of the rows.
        columns: The distinct contents of the columns.
        reports: The number of rows or of columns, the larger.
    """
    if contents.is_bilinear:
        findings = len(contents.corpus.used(rows))
        if columns is not rows:
            findings = max(findings, len(contents.corpus.used(columns)))
        if 2 * findings <= reports:
            return "findings"
    if contents.shaping.is_sparse:
        return "sparse"
    return "table" if max(len(rows), len(columns)) < LARGEST_TABLE else "row blocks"


def build(contents: Contents, rows: Index, columns: Index, dtype: torch.dtype) -> Factored:
    """Return the similarity of reports with these contents, by the path that the rule chooses.

    Columns that are the same tensor as rows share their factors.
    """
    shared = columns is rows
    left, distinct = one_hot(rows, dtype)
    right, others = (left, distinct) if shared else one_hot(columns, dtype)
    path = choose_path(contents, distinct, others, max(len(rows), len(columns)))
    if path == "findings":
        corpus = contents.corpus
        left, used = corpus.weights(rows, dtype)
        right, used_of_columns = (left, used) if shared else corpus.weights(columns, dtype)
        return Factored(left, table_or_blocks(corpus, used, used_of_columns, dtype), right)
    if path == "sparse":
        top_k = contents.shaping.top_k
        return Factored(left, sparsify(contents, distinct, others, dtype, top_k), right)
    return Factored(left, table_or_blocks(contents, distinct, others, dtype), right)


def table_or_blocks(
    source: BlockSource, rows: Index, columns: Index, dtype: torch.dtype
) -> SimilarityOperator:
    """Return a table where it is small, else blocks of rows that each product computes again."""
    if max(rows.shape[0], columns.shape[0]) < LARGEST_TABLE:
        return Dense(source.block(rows, columns, dtype))
    return RowBlocks(source, rows, columns, dtype)


def one_hot(places: Index, dtype: torch.dtype) -> tuple[Sparse, Index]:
    """Return the operator that gives each report the row of its place, and the distinct places.

    A report of a negative place gets a row of zeros.
    """
    has = places >= 0
    distinct, columns = torch.unique(places[has], return_inverse=True)
    offsets = torch.cat([has.new_zeros(1, dtype=torch.int64), has.cumsum(0)])
    return Sparse(offsets, columns, torch.ones(len(columns), dtype=dtype), len(distinct)), distinct
