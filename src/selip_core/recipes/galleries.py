"""Galleries: within one sequence, one entry for each distinct report."""

from collections.abc import Sequence
from dataclasses import dataclass

from selip_core.data import Manifest
from selip_core.findings import NORMAL_LABEL, distinct_label


@dataclass(frozen=True)
class Gallery:
    """The volumes of one sequence, and the distinct reports among which each looks for its own.

    Attributes:
        sequence: The sequence.
        queries: Rows of the manifest, one a volume.
        labels: The distinct report of each query.
        entries: Rows of the manifest, one a distinct report: the first that carries it.
        entry_labels: The distinct report of each entry.
    """

    sequence: str
    queries: tuple[int, ...]
    labels: tuple[str, ...]
    entries: tuple[int, ...]
    entry_labels: tuple[str, ...]

    def select(self, queries: Sequence[int], entries: Sequence[int]) -> "Gallery":
        """The queries and the entries at these positions, counted from 0."""
        return Gallery(
            sequence=self.sequence,
            queries=tuple(self.queries[position] for position in queries),
            labels=tuple(self.labels[position] for position in queries),
            entries=tuple(self.entries[position] for position in entries),
            entry_labels=tuple(self.entry_labels[position] for position in entries),
        )

    def abnormal(self) -> "Gallery":
        """The same without normal reports, as queries and as entries."""
        return self.select(abnormal_positions(self.labels), abnormal_positions(self.entry_labels))


def abnormal_positions(labels: Sequence[str]) -> list[int]:
    """Where the labels are not ``NORMAL_LABEL``."""
    return [position for position, label in enumerate(labels) if label != NORMAL_LABEL]


def normal_positions(labels: Sequence[str]) -> list[int]:
    """Where the labels are ``NORMAL_LABEL``."""
    return [position for position, label in enumerate(labels) if label == NORMAL_LABEL]


def sequence_galleries(manifest: Manifest) -> list[Gallery]:
    """One gallery for each sequence of the manifest, in order of first appearance."""
    by_sequence: dict[str, list[int]] = {}
    for index, row in enumerate(manifest.rows):
        by_sequence.setdefault(row.sequence, []).append(index)
    galleries = []
    for sequence, queries in by_sequence.items():
        labels = [distinct_label(manifest.report_of(index)) for index in queries]
        first: dict[str, int] = {}
        for index, label in zip(queries, labels, strict=True):
            first.setdefault(label, index)
        galleries.append(
            Gallery(sequence, tuple(queries), tuple(labels), tuple(first.values()), tuple(first))
        )
    return galleries
