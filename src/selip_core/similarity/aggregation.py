"""From the similarity of findings to the similarity of reports."""

import abc
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.corpus import Corpus
from selip_core.similarity.operators import Index, sparse_matrix


@final
@dataclass(frozen=True, eq=False)
class Weights:
    """``W``: the findings of some contents, each with weight one over their number.

    Attributes:
        matrix: Sparse (COO), contents x used findings; an empty content has an empty row.
        used: Which distinct findings the columns are.
        places: The content of each occurrence of a finding.
        columns: The column of each occurrence of a finding.
    """

    matrix: Float[Tensor, "contents used"]
    used: Index
    places: Index
    columns: Index

    @classmethod
    def of(cls, corpus: Corpus, contents: Index, dtype: torch.dtype) -> "Weights":
        """Gather the findings of these contents."""
        places, findings = corpus.occurrences(contents)
        used, columns = torch.unique(findings, return_inverse=True)
        values = corpus.sizes[contents][places].to(dtype).reciprocal()
        size = (contents.shape[0], used.shape[0])
        return cls(sparse_matrix(places, columns, values, size), used, places, columns)


class Aggregation(abc.ABC):
    """How the kernel of all pairs of findings becomes one number for two reports."""

    @abc.abstractmethod
    def table(
        self, corpus: Corpus, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return the similarities of contents; an empty content is similar to none (0)."""

    @abc.abstractmethod
    def own(self, corpus: Corpus) -> Float[Tensor, " contents"]:
        """Return the similarity of each content with itself, in float64."""


@final
class Mean(Aggregation):
    """The mean over all pairs of findings: ``W K V'``, bilinear."""

    def table(
        self, corpus: Corpus, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return ``W K V'``."""
        left, right = Weights.of(corpus, rows, dtype), Weights.of(corpus, columns, dtype)
        kernel = corpus.compare(left.used[:, None], right.used[None, :]).to(dtype)
        return (right.matrix @ (left.matrix @ kernel).T).T

    def own(self, corpus: Corpus) -> Float[Tensor, " contents"]:
        """Return the mean over the pairs of each content's own findings."""
        contents, values, _ = _own_pairs(corpus)
        sums = torch.zeros(corpus.sizes.shape[0], dtype=values.dtype).index_add(0, contents, values)
        return sums / corpus.sizes.clamp(min=1).square()


@final
class Best(Aggregation):
    """The mean, over the findings of both reports, of each one's best match in the other.

    ``(mean_i max_j k_ij + mean_j max_i k_ij) / 2``.
    """

    def table(
        self, corpus: Corpus, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return the best matches of both directions, averaged."""
        left, right = Weights.of(corpus, rows, dtype), Weights.of(corpus, columns, dtype)
        kernel = corpus.compare(left.used[:, None], right.used[None, :]).to(dtype)
        of_left = left.matrix @ _largest(kernel.T, right).T
        of_right = right.matrix @ _largest(kernel, left).T
        return (of_left + of_right.T) / 2

    def own(self, corpus: Corpus) -> Float[Tensor, " contents"]:
        """Return the mean, over each content's findings, of the best match among its own."""
        _, values, firsts = _own_pairs(corpus)
        best = torch.zeros(corpus.findings.shape[0], dtype=values.dtype)
        best = best.scatter_reduce(0, firsts, values, "amax")
        of_occurrence = torch.repeat_interleave(torch.arange(corpus.sizes.shape[0]), corpus.sizes)
        sums = torch.zeros(corpus.sizes.shape[0], dtype=values.dtype)
        return sums.index_add(0, of_occurrence, best) / corpus.sizes.clamp(min=1)


def _largest(
    kernel: Float[Tensor, "used others"], weights: Weights
) -> Float[Tensor, "contents others"]:
    """Return for each content the largest row of its findings; 0 for an empty content."""
    rows = kernel[weights.columns]
    largest = kernel.new_zeros(weights.matrix.shape[0], kernel.shape[1])
    return largest.scatter_reduce(0, weights.places[:, None].expand_as(rows), rows, "amax")


def _own_pairs(corpus: Corpus) -> tuple[Index, Float[Tensor, " pairs"], Index]:
    """Return content, kernel, and first occurrence of every pair of findings within a content."""
    sizes = corpus.sizes
    of_occurrence = torch.repeat_interleave(torch.arange(sizes.shape[0]), sizes)
    partners = sizes[of_occurrence]
    firsts = torch.repeat_interleave(torch.arange(corpus.findings.shape[0]), partners)
    begins = partners.cumsum(0) - partners
    contents = of_occurrence[firsts]
    seconds = corpus.offsets[contents] + torch.arange(firsts.shape[0]) - begins[firsts]
    return contents, corpus.compare(corpus.findings[firsts], corpus.findings[seconds]), firsts
