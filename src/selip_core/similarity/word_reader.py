"""What reports say in words, each content once."""

import hashlib
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import UInt8
from torch import Tensor

from selip_core.similarity.rendering import Template
from selip_core.similarity.report_index import ReportIndex

if TYPE_CHECKING:
    from selip_core.findings import Report

UNKNOWN, NORMAL, FIRST_CONTENT = 0, 1, 2
"""What a report says: nothing, that it is normal, or from here on the place of its content."""

DIGEST_BYTES = 32
_SHOWN = 10


@final
class WordReader:
    """Reads reports one by one; keeps the words of new contents until they are embedded.

    The *content* of a report is its text, or its rendered findings.

    Args:
        template: Renders findings; ``None`` reads the texts of reports.
        pooling: ``"joined"`` makes one text of a report's rendered findings.
        digests: SHA-256 of the words of each content that is known already.

    Attributes:
        new: The texts of each content that was not known.

    Example:
        >>> from selip_core import Report
        >>> reader = WordReader(None, "joined", torch.empty(0, DIGEST_BYTES, dtype=torch.uint8))
        >>> index = ReportIndex()
        >>> for id, text in [("a", "No lesion."), ("b", "An infarct."), ("c", "No lesion.")]:
        ...     reader.read(Report(id=id, text=text), index)
        >>> index.says, reader.new
        (tensor([2, 3, 2]), [('No lesion.',), ('An infarct.',)])
    """

    def __init__(
        self, template: Template | None, pooling: str, digests: UInt8[Tensor, "contents 32"]
    ) -> None:
        self.new: list[tuple[str, ...]] = []
        self._template = template
        self._joins = pooling == "joined"
        self._places = {digest.tobytes(): place for place, digest in enumerate(digests.numpy())}
        self._without: list[int] = []
        self._count = 0
        self._fields: set[str] = set()

    def read(self, report: "Report", index: ReportIndex) -> None:
        """Add the report to the index by what it says."""
        words = self._words(report)
        self._count += 1
        if words:
            index.add(report, says=FIRST_CONTENT + self._place(words))
        elif self._template is None:
            self._without.append(self._count - 1)
        else:
            index.add(report, says=NORMAL if report.normal else UNKNOWN)

    def check(self) -> None:
        """Refuse reports without text, or findings of which none can be rendered."""
        if self._without:
            raise ValueError(
                f"semantic similarity needs texts; {len(self._without)} of {self._count} reports "
                f"have none, at positions {self._without[:_SHOWN]}"
            )
        if self._template is not None and self._fields and not self._places:
            raise ValueError(
                "no finding has a field that the template reads: it reads "
                f"{list(self._template.fields)}, the findings have {sorted(self._fields)}"
            )

    def digests(self) -> UInt8[Tensor, "contents 32"]:
        """Return the digest of each content."""
        joined = bytearray(b"".join(self._places))
        flat = torch.frombuffer(joined, dtype=torch.uint8) if joined else torch.empty(0).byte()
        return flat.view(-1, DIGEST_BYTES)

    def _words(self, report: "Report") -> tuple[str, ...]:
        """Return the texts that speak for a report."""
        if self._template is None:
            return () if report.text is None else (report.text,)
        words = self._template.render_all(report)
        if not words and not self._places and not report.normal:
            for finding in report.findings:
                self._fields |= set(finding.model_dump(exclude_none=True, exclude={"negated"}))
        return (". ".join(words),) if words and self._joins else words

    def _place(self, words: tuple[str, ...]) -> int:
        digest = hashlib.sha256()
        for text in words:
            digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        known = len(self._places)
        place = self._places.setdefault(digest.digest(), known)
        if place == known:
            self.new.append(words)
        return place
