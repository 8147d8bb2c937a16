"""The findings of a corpus, each distinct one once."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selip_core.similarity.kernels import FieldValues, FindingKernel, LeafKernel
from selip_core.similarity.kernels.algebra import NEGATED
from selip_core.similarity.operators import Index
from selip_core.similarity.operators.sparse import Sparse, entry_rows, row_entries

if TYPE_CHECKING:
    from selip_core.findings import Finding, Report

Fields: TypeAlias = tuple[str, ...]
"""What one field kernel reads: a field, or several whose words are joined."""

_BLOCK_VALUES = 2**19
_MISSING = -1


@final
@dataclass(frozen=True, eq=False)
class Corpus:
    """Which findings contents hold, and how findings compare.

    Two findings are the same if they agree in every field that the kernel reads; a *content* is
    the multiset of findings of a report, whatever their order.

    Attributes:
        kernel: Compares two findings.
        offsets: Where each content begins in ``findings``; one more than there are contents.
        findings: The findings of the contents, one content after the other.
        codes: For what each field kernel reads, the codes of the distinct findings' values.
        values: For each field kernel the values that the codes count, ready to be compared.
    """

    kernel: FindingKernel
    offsets: Int[Tensor, " contents_and_one"]
    findings: Int[Tensor, " occurrences"]
    codes: Mapping[Fields, Int[Tensor, " distinct"]]
    values: Mapping[LeafKernel, FieldValues]

    @property
    def sizes(self) -> Int[Tensor, " contents"]:
        """The number of findings of each content."""
        return self.offsets.diff()

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        own = self.offsets.nbytes + self.findings.nbytes
        codes = sum(codes.nbytes for codes in self.codes.values())
        return own + codes + sum(values.nbytes for values in self.values.values())

    def used(self, contents: Index) -> Index:
        """Return the distinct findings of these contents."""
        _, entries = row_entries(self.offsets, contents)
        used: Tensor = torch.unique(self.findings[entries])
        return used

    def weights(self, contents: Index, dtype: torch.dtype) -> tuple[Sparse, Index]:
        """Return ``W``, one over the number of findings at each finding, and the used findings."""
        offsets, entries = row_entries(self.offsets, contents)
        used, columns = torch.unique(self.findings[entries], return_inverse=True)
        values = offsets.diff().to(dtype).reciprocal()[entry_rows(offsets)]
        return Sparse(offsets, columns, values, used.shape[0]), used

    def block(
        self, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return the kernel of distinct findings, computed in blocks that stay in the cache."""
        table = torch.empty(rows.shape[0], columns.shape[0], dtype=dtype)
        height = max(1, _BLOCK_VALUES // max(columns.shape[0], 1))
        for start in range(0, rows.shape[0], height):
            block = rows[start : start + height, None]
            table[start : start + height] = self.pairs(block, columns[None, :], dtype)
        return table

    def pairs(self, a: Index, b: Index, dtype: torch.dtype) -> Float[Tensor, "*pairs"]:
        """Return the kernel of distinct findings, with broadcasting."""

        def leaf_values(leaf: LeafKernel) -> Tensor:
            codes = self.codes[leaf.fields]
            return leaf.compare(self.values[leaf], codes[a], codes[b], dtype)

        similarity = self.kernel.combine(leaf_values)
        return similarity.nan_to_num(nan=0) if self.kernel.can_be_left_out else similarity


@final
class CorpusBuilder:
    """Reads reports one by one; keeps their findings as codes and nothing of the reports.

    A finding that has none of the kernel's fields says nothing to it and does not count, and
    neither do findings of normal reports: a report without a finding that counts has an empty
    content.

    Example:
        >>> from selip_core import Finding, Report
        >>> from selip_core.similarity import exact
        >>> builder = CorpusBuilder(exact("site"))
        >>> pons, insula = Finding(site="pons"), Finding(site="insula")
        >>> [builder.add(Report(id="a", findings=f)) for f in ([pons, insula], [insula, pons])]
        [0, 0]
        >>> builder.build().block(torch.arange(2), torch.arange(2), torch.float32)
        tensor([[1., 0.],
                [0., 1.]])
    """

    def __init__(self, kernel: FindingKernel) -> None:
        self.kernel = kernel
        self._reads = tuple(dict.fromkeys(leaf.fields for leaf in kernel.leaves))
        self._telling = [place for place, read in enumerate(self._reads) if set(read) != {NEGATED}]
        self._codes: tuple[dict[str, int], ...] = tuple({} for _ in self._reads)
        self._distinct: dict[tuple[int, ...], int] = {}
        self._contents: dict[tuple[int, ...], int] = {}
        self._unread: set[str] = set()

    @classmethod
    def of(cls, corpus: Corpus) -> "CorpusBuilder":
        """Return a builder that goes on where a corpus ended."""
        builder = cls(corpus.kernel)
        strings = {leaf.fields: values.strings for leaf, values in corpus.values.items()}
        builder._codes = tuple(
            {value: code for code, value in enumerate(strings[read])} for read in builder._reads
        )
        columns = [corpus.codes[read].tolist() for read in builder._reads]
        builder._distinct = {key: place for place, key in enumerate(zip(*columns, strict=True))}
        offsets, findings = corpus.offsets.tolist(), corpus.findings.tolist()
        builder._contents = {
            tuple(findings[start:stop]): place
            for place, (start, stop) in enumerate(itertools.pairwise(offsets))
        }
        return builder

    def add(self, report: "Report") -> int:
        """Return the position of the report's content among all so far."""
        found = [] if report.normal else [self._find(finding) for finding in report.findings]
        content = tuple(sorted(place for place in found if place is not None))
        return self._contents.setdefault(content, len(self._contents))

    def build(self) -> Corpus:
        """Return the corpus, with everything its kernel needs to compare findings.

        Raises:
            ValueError: If there are findings and none has a field that the kernel reads.
        """
        if self._unread and not self._distinct:
            raise ValueError(
                "no finding has a field that the kernel reads: it reads "
                f"{list(self.kernel.fields)}, the findings have {sorted(self._unread)}; build a "
                "kernel from those, as with exact(field)"
            )
        strings = {read: list(codes) for read, codes in zip(self._reads, self._codes, strict=True)}
        codes = torch.tensor(list(self._distinct), dtype=torch.int32).view(-1, len(self._reads))
        return Corpus(
            kernel=self.kernel,
            offsets=torch.tensor([0, *map(len, self._contents)]).cumsum(0),
            findings=torch.tensor([f for c in self._contents for f in c], dtype=torch.int64),
            codes={
                read: column.contiguous()
                for read, column in zip(self._reads, codes.unbind(1), strict=True)
            },
            values={leaf: leaf.read(strings[leaf.fields]) for leaf in self.kernel.leaves},
        )

    def _find(self, finding: "Finding") -> int | None:
        """Return the position of a finding, or None if it has nothing to say to the kernel."""
        words = (_words(finding, read) for read in self._reads)
        key = tuple(
            _MISSING if value is None else codes.setdefault(value, len(codes))
            for codes, value in zip(self._codes, words, strict=True)
        )
        if all(key[place] == _MISSING for place in self._telling):
            if not self._distinct:
                self._unread |= set(finding.model_dump(exclude_none=True, exclude={"negated"}))
            return None
        return self._distinct.setdefault(key, len(self._distinct))


def _words(finding: "Finding", fields: Fields) -> str | None:
    """Return the value of a field, or the words of several, or None if all are missing."""
    if len(fields) == 1:
        return finding.value(fields[0])
    words = {field: value for field in fields if (value := finding.value(field)) is not None}
    # ``negated`` always has a value, and alone describes nothing.
    return " ".join(words.values()) if set(words) - {NEGATED} else None
