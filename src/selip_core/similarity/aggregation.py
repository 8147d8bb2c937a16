"""From the similarity of findings to the similarity of reports."""

import abc
from collections.abc import Iterator
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.corpus import Corpus
from selip_core.similarity.operators import Index, Sparse
from selip_core.similarity.operators.sparse import entry_rows

_BLOCK_VALUES = 2**22
_BLOCK_PAIRS = 2**20
_LONG_SET = 64


class Aggregation(abc.ABC):
    """How the kernel of all pairs of findings becomes one number for two contents of reports."""

    is_bilinear: ClassVar[bool] = False

    def block(
        self, corpus: Corpus, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return the similarities of contents; an empty content is similar to none (0)."""
        right, used = corpus.weights(columns, dtype)
        table = torch.empty(rows.shape[0], columns.shape[0], dtype=dtype)
        room = max(1, _BLOCK_VALUES // max(used.shape[0], 1))
        for block in _row_blocks(corpus.sizes[rows], room):
            left, used_of_block = corpus.weights(rows[block], dtype)
            # The kernel is symmetric, and the product with columns needs it column after column.
            # There are several parts only where one report has more findings than there is room.
            of_columns = [
                self.of_columns(corpus.block(used, part, dtype), right).T
                for part in torch.split(used_of_block, room)
            ]
            table[block] = left.matmul(torch.cat(of_columns))
        return table

    @abc.abstractmethod
    def of_columns(
        self, kernel: Float[Tensor, "v u"], columns: Sparse
    ) -> Float[Tensor, "columns u"]:
        """Return the similarity of contents to single findings, given that of their findings."""

    @abc.abstractmethod
    def own(self, corpus: Corpus) -> Float[Tensor, " contents"]:
        """Return the similarity of each content with itself, in float64; 0 for an empty one."""


@final
class Mean(Aggregation):
    """The mean over all pairs of findings: ``W K V'``, bilinear."""

    is_bilinear = True

    def of_columns(self, kernel: Tensor, columns: Sparse) -> Tensor:
        """Return the means ``V K``."""
        return columns.matmul(kernel)

    def own(self, corpus: Corpus) -> Float[Tensor, " contents"]:
        """Return the mean over the pairs of each content's own findings."""
        sums = torch.zeros(corpus.sizes.shape[0], dtype=torch.float64)
        for contents, values, _ in _own_pairs(corpus):
            sums.index_add_(0, contents, values)
        return sums / corpus.sizes.clamp(min=1).square()


@final
class Best(Aggregation):
    """The mean, over the findings of both reports, of each one's best match in the other.

    ``(mean_i max_j k_ij + mean_j max_i k_ij) / 2``.
    """

    def block(
        self, corpus: Corpus, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return the best matches of both directions, averaged."""
        forth = super().block(corpus, rows, columns, dtype)
        back = forth if rows is columns else super().block(corpus, columns, rows, dtype)
        return (forth + back.T) / 2

    def of_columns(self, kernel: Tensor, columns: Sparse) -> Tensor:
        """Return each finding's best match in each content."""
        return _largest_of_rows(kernel, columns)

    def own(self, corpus: Corpus) -> Float[Tensor, " contents"]:
        """Return the mean, over each content's findings, of the best match among its own."""
        best = torch.zeros(corpus.findings.shape[0], dtype=torch.float64)
        for _, values, firsts in _own_pairs(corpus):
            best.scatter_reduce_(0, firsts, values, "amax")
        sums = torch.zeros(corpus.sizes.shape[0], dtype=torch.float64)
        return sums.index_add(0, entry_rows(corpus.offsets), best) / corpus.sizes.clamp(min=1)


def _row_blocks(sizes: Index, room: int) -> Iterator[slice]:
    """Yield consecutive rows that together have no more findings than there is room, or one row."""
    ends = sizes.cumsum(0).tolist()
    start = taken = 0
    for row, end in enumerate(ends):
        if end - taken > room and row > start:
            yield slice(start, row)
            start, taken = row, ends[row - 1]
    if start < len(ends):
        yield slice(start, len(ends))


def _largest_of_rows(
    values: Float[Tensor, "findings others"], sets: Sparse
) -> Float[Tensor, "sets others"]:
    """Return for each set of findings the largest of their rows; 0 for an empty set."""
    sizes = sets.offsets.diff()
    order = sizes.argsort(descending=True, stable=True)
    begins, sizes = sets.offsets[:-1][order], sizes[order]
    largest = values.new_zeros(sizes.shape[0], values.shape[1])
    # Set by set in order of size: the k-th findings of all sets that have so many, at once.
    counts = torch.bincount(sizes).flip(0).cumsum(0).flip(0)[1:].tolist()
    for place, count in enumerate(counts[:_LONG_SET]):
        rows = values[sets.columns[begins[:count] + place]]
        torch.maximum(largest[:count], rows, out=largest[:count])
    # Few sets are longer, and those take a step each.
    long = int((sizes > _LONG_SET).sum())
    for place, (begin, size) in enumerate(
        zip(begins[:long].tolist(), sizes[:long].tolist(), strict=True)
    ):
        largest[place] = values[sets.columns[begin : begin + size]].amax(0)
    result = torch.empty_like(largest)
    result[order] = largest
    return result


def _own_pairs(corpus: Corpus) -> Iterator[tuple[Index, Float[Tensor, " pairs"], Index]]:
    """Yield content, kernel, and first occurrence of the pairs of findings within contents."""
    of_occurrence = entry_rows(corpus.offsets)
    partners = corpus.sizes[of_occurrence]
    start = 0
    for stop in _pair_blocks(partners):
        firsts = torch.repeat_interleave(torch.arange(start, stop), partners[start:stop])
        begins = torch.repeat_interleave(
            partners[start:stop].cumsum(0) - partners[start:stop], partners[start:stop]
        )
        contents = of_occurrence[firsts]
        seconds = corpus.offsets[contents] + torch.arange(firsts.shape[0]) - begins
        values = corpus.pairs(corpus.findings[firsts], corpus.findings[seconds], torch.float64)
        yield contents, values, firsts
        start = stop


def _pair_blocks(partners: Index) -> list[int]:
    """Return where to stop so that each block of occurrences has a bounded number of pairs."""
    number = partners.cumsum(0) // _BLOCK_PAIRS
    changes = (number.diff() > 0).nonzero().squeeze(1) + 1
    stops: list[int] = changes.tolist()
    return [*stops, partners.shape[0]] if partners.shape[0] else []
