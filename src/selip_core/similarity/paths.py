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
    """The similarity of contents of reports, shaped, in blocks."""

    corpus: Corpus
    aggregation: Aggregation
    shaping: Shaping

    @property
    def nbytes(self) -> int:
        """Bytes of the corpus."""
        return self.corpus.nbytes

    def block(
        self, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return the shaped similarities; ``top_k`` is not looked at."""
        return self.shaping.apply(self.aggregation.block(self.corpus, rows, columns, dtype))


def choose_path(is_bilinear: bool, shaping: Shaping, findings: int, shape: tuple[int, int]) -> Path:
    """Return the path of a batch: one rule, for whoever builds and for whoever describes.

    Args:
        is_bilinear: Whether the aggregation is a mean.
        shaping: Applied to the similarity of reports.
        findings: The number of distinct findings of the rows or of the columns, the larger.
        shape: The numbers of rows and of columns.

    Example:
        >>> choose_path(True, Shaping(), findings=400, shape=(1024, 1024))
        'findings'
        >>> choose_path(True, Shaping(), findings=600, shape=(1024, 1024))
        'table'
        >>> choose_path(True, Shaping(gamma=2.0), findings=400, shape=(65536, 65536))
        'row blocks'
    """
    if is_bilinear and shaping.is_none and 2 * findings <= max(shape):
        return "findings"
    if shaping.is_sparse:
        return "sparse"
    return "table" if max(shape) < LARGEST_TABLE else "row blocks"


def through_findings(corpus: Corpus, rows: Index, columns: Index, dtype: torch.dtype) -> Factored:
    """Return the mean over pairs of findings; the kernel is a table only where that is small."""
    left, used = corpus.weights(rows, dtype)
    right, used_of_columns = (left, used) if columns is rows else corpus.weights(columns, dtype)
    return Factored(left, _table_or_blocks(corpus, used, used_of_columns, dtype), right)


def through_contents(
    contents: Contents, path: Path, rows: Index, columns: Index, dtype: torch.dtype
) -> Factored:
    """Return the similarity of distinct contents, spread over the reports that have them."""
    left, distinct = one_hot(rows, dtype)
    right, distinct_of_columns = (left, distinct) if columns is rows else one_hot(columns, dtype)
    if path == "sparse":
        top_k = contents.shaping.top_k
        kernel: SimilarityOperator = sparsify(contents, distinct, distinct_of_columns, dtype, top_k)
    else:
        kernel = _table_or_blocks(contents, distinct, distinct_of_columns, dtype)
    return Factored(left, kernel, right)


def _table_or_blocks(
    source: BlockSource, rows: Index, columns: Index, dtype: torch.dtype
) -> SimilarityOperator:
    if max(rows.shape[0], columns.shape[0]) < LARGEST_TABLE:
        return Dense(source.block(rows, columns, dtype))
    return RowBlocks(source, rows, columns, dtype)


def one_hot(places: Index, dtype: torch.dtype) -> tuple[Sparse, Index]:
    """Return the operator that gives each report the row of its place, and the distinct places."""
    distinct, columns = torch.unique(places, return_inverse=True)
    offsets = torch.arange(places.shape[0] + 1)
    return Sparse(offsets, columns, torch.ones(len(columns), dtype=dtype), len(distinct)), distinct
