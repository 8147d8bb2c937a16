"""The findings of a corpus, each distinct one once."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selip_core.similarity.kernels import FieldKernel, FindingKernel
from selip_core.similarity.kernels.algebra import Compare
from selip_core.similarity.operators import Index

if TYPE_CHECKING:
    from selip_core.findings import Report


@final
@dataclass(frozen=True, eq=False)
class Corpus:
    """Which contents reports have, which findings contents hold, how findings compare.

    Two findings are the same if they agree in every field that the kernel reads; a *content* is
    the multiset of findings of a report, whatever their order. A finding that has none of the
    fields says nothing to the kernel and does not count, and neither do findings of normal reports:
    a report without a finding that counts has an empty content.

    Attributes:
        kernel: Compares two findings.
        contents: The content of each report.
        offsets: Where each content begins in ``findings``; one more than there are contents.
        findings: The findings of the contents, one content after the other.
        codes: For each field the codes of the distinct findings' values.
        comparisons: For each leaf of the kernel the comparison by codes.
    """

    kernel: FindingKernel
    contents: Int[Tensor, " reports"]
    offsets: Int[Tensor, " contents_and_one"]
    findings: Int[Tensor, " occurrences"]
    codes: dict[str, Int[Tensor, " distinct"]]
    comparisons: dict[FieldKernel, Compare]

    @classmethod
    def of(cls, reports: "Sequence[Report]", kernel: FindingKernel) -> Self:
        """Read the corpus once and build what the kernel's leaves need.

        Raises:
            ValueError: If there are findings and none has a field that the kernel reads.
        """
        distinct: dict[tuple[str | None, ...], int] = {}
        contents: dict[tuple[int, ...], int] = {}
        content_of_report = []
        for report in reports:
            keys = [] if report.normal else _telling_keys(report, kernel.fields)
            content = tuple(sorted(distinct.setdefault(key, len(distinct)) for key in keys))
            content_of_report.append(contents.setdefault(content, len(contents)))
        if not distinct:
            _require_fields(reports, kernel)
        lengths = torch.tensor([0, *map(len, contents)])
        coded = {
            field: _encoded([key[place] for key in distinct])
            for place, field in enumerate(kernel.fields)
        }
        return cls(
            kernel=kernel,
            contents=torch.tensor(content_of_report),
            offsets=lengths.cumsum(0),
            findings=torch.tensor([f for content in contents for f in content], dtype=torch.int64),
            codes={field: codes for field, (codes, _) in coded.items()},
            comparisons={leaf: leaf.compare(coded[leaf.field][1]) for leaf in kernel.leaves},
        )

    @property
    def sizes(self) -> Int[Tensor, " contents"]:
        """The number of findings of each content."""
        return self.offsets.diff()

    def compare(self, a: Index, b: Index) -> Float[Tensor, "*pairs"]:
        """Return the kernel of distinct findings in float64, with broadcasting."""

        def leaf_values(leaf: FieldKernel) -> Tensor:
            codes = self.codes[leaf.field]
            return self.comparisons[leaf](codes[a], codes[b])

        return self.kernel.combine(leaf_values)

    def occurrences(self, contents: Index) -> tuple[Index, Index]:
        """Return all findings of these contents as (place in ``contents``, distinct finding)."""
        sizes = self.sizes[contents]
        places = torch.repeat_interleave(torch.arange(contents.shape[0]), sizes)
        begins = sizes.cumsum(0) - sizes
        within = torch.arange(places.shape[0]) - begins[places]
        return places, self.findings[self.offsets[contents][places] + within]


def _telling_keys(report: "Report", fields: tuple[str, ...]) -> list[tuple[str | None, ...]]:
    """Return the values of the findings that have any of the fields.

    Every finding is negated or not, so that alone does not count.
    """
    keys = [tuple(map(finding.value, fields)) for finding in report.findings]
    telling = [place for place, field in enumerate(fields) if field != "negated"]
    return [key for key in keys if any(key[place] is not None for place in telling)]


def _require_fields(reports: "Sequence[Report]", kernel: FindingKernel) -> None:
    present = {
        field
        for report in reports
        if not report.normal
        for finding in report.findings
        for field in finding.model_dump(exclude_none=True, exclude={"negated"})
    }
    if present:
        raise ValueError(
            f"no finding has a field that the kernel reads: it reads {list(kernel.fields)}, the "
            f"findings have {sorted(present)}; build a kernel from those, as with exact(field)"
        )


def _encoded(values: Sequence[str | None]) -> tuple[Int[Tensor, " values"], list[str]]:
    """Return codes, with -1 for a missing value, and the distinct values that they count."""
    positions: dict[Hashable, int] = {}
    codes = [
        -1 if value is None else positions.setdefault(value, len(positions)) for value in values
    ]
    return torch.tensor(codes, dtype=torch.int64), [str(value) for value in positions]
