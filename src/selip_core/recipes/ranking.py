"""Rankings within one sequence, both ways, measured query by query."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.data import Manifest
from selip_core.evaluation import (
    Lesion,
    Measures,
    lesion_relevance,
    recall_measures,
    same_group,
    same_kind,
    truth_measures,
)
from selip_core.recipes.galleries import Gallery, abnormal_positions, normal_positions

Truth = dict[str, tuple[Lesion, ...]]
Patients = tuple[tuple[str, ...], ...]
"""Of each query: those whose volumes are asked for, or whose volumes carry the report."""


@dataclass(frozen=True)
class Judgement:
    """What the latent truth says of each answer.

    Attributes:
        relevance: Of ``lesion_relevance``.
        same_kind: Of ``same_kind``.
        query_shows: Whether the sequence shows a lesion of the query.
        entry_shows: The same of each entry.
    """

    relevance: Float[Tensor, "queries entries"]
    same_kind: Bool[Tensor, "queries entries"]
    query_shows: Bool[Tensor, " queries"]
    entry_shows: Bool[Tensor, " entries"]

    def transposed(self) -> "Judgement":
        """The same with queries and entries exchanged."""
        return Judgement(self.relevance.T, self.same_kind.T, self.entry_shows, self.query_shows)

    def select(self, rows: Tensor, columns: Tensor) -> "Judgement":
        """The block of these queries and entries."""
        return Judgement(
            self.relevance[rows][:, columns],
            self.same_kind[rows][:, columns],
            self.query_shows[rows],
            self.entry_shows[columns],
        )


@dataclass(frozen=True)
class Ranking:
    """Scores of one gallery, and which answers are right.

    Attributes:
        gallery: Queries and entries.
        scores: Cosines of the queries' images and the entries' texts.
        query_patients: The patient of each query.
        entry_patients: The patients whose volumes carry each entry's report.
        judgement: By the latent truth, or None without it.
    """

    gallery: Gallery
    scores: Float[Tensor, "queries entries"]
    query_patients: Patients
    entry_patients: Patients
    judgement: Judgement | None

    def image_to_text(self) -> Measures:
        """Each volume looks for its report."""
        right = same_group(self.gallery.labels, self.gallery.entry_labels)
        return _measure(self.scores, right, self.judgement, self.query_patients)

    def text_to_image(self) -> Measures:
        """Each distinct report looks for a volume that it describes."""
        right = same_group(self.gallery.entry_labels, self.gallery.labels)
        judgement = None if self.judgement is None else self.judgement.transposed()
        return _measure(self.scores.T, right, judgement, self.entry_patients)

    def abnormal(self) -> "Ranking":
        """Abnormal volumes against abnormal reports."""
        gallery = self.gallery
        return self._select(
            abnormal_positions(gallery.labels), abnormal_positions(gallery.entry_labels)
        )

    def normal(self) -> "Ranking":
        """Normal volumes against all reports."""
        gallery = self.gallery
        return self._select(normal_positions(gallery.labels), range(len(gallery.entries)))

    def normality(self) -> Float[Tensor, " queries"]:
        """Cosine of each volume to the normal entry, less its mean cosine to the others.

        Needs an entry of either kind.
        """
        labels = self.gallery.entry_labels
        others = self.scores[:, abnormal_positions(labels)].mean(dim=1)
        return self.scores[:, normal_positions(labels)].squeeze(1) - others

    def _select(self, queries: Sequence[int], entries: Sequence[int]) -> "Ranking":
        rows, columns = (torch.tensor(list(part), dtype=torch.int64) for part in (queries, entries))
        return Ranking(
            gallery=self.gallery.select(queries, entries),
            scores=self.scores[rows][:, columns],
            query_patients=tuple(self.query_patients[position] for position in queries),
            entry_patients=tuple(self.entry_patients[position] for position in entries),
            judgement=None if self.judgement is None else self.judgement.select(rows, columns),
        )


def rank(
    gallery: Gallery,
    manifest: Manifest,
    image_features: Float[Tensor, "rows d"],
    text_features: Float[Tensor, "rows d"],
    truth: Truth | None,
) -> Ranking:
    """The ranking of a gallery by cosine.

    Args:
        gallery: Rows of the manifest.
        manifest: Tells the study and the patient of each row.
        image_features: Unit features, one a row.
        text_features: Of the same rows' reports.
        truth: The lesions of each study, or None.
    """
    queries, entries = list(gallery.queries), list(gallery.entries)
    owners = [manifest.rows[row].patient for row in queries]
    carriers: dict[str, list[str]] = {label: [] for label in gallery.entry_labels}
    for patient, label in zip(owners, gallery.labels, strict=True):
        carriers[label].append(patient)
    return Ranking(
        gallery=gallery,
        scores=image_features[queries] @ text_features[entries].T,
        query_patients=tuple((patient,) for patient in owners),
        entry_patients=tuple(tuple(carriers[label]) for label in gallery.entry_labels),
        judgement=None if truth is None else _judge(gallery, manifest, truth),
    )


def _judge(gallery: Gallery, manifest: Manifest, truth: Truth) -> Judgement:
    """Judge entries by the study of the first row that carries them, whose text they are."""
    queries, entries = (
        [truth[manifest.rows[row].study] for row in rows]
        for rows in (gallery.queries, gallery.entries)
    )
    query_shows, entry_shows = (
        torch.tensor([any(gallery.sequence in one.visible_in for one in each) for each in sets])
        for sets in (queries, entries)
    )
    return Judgement(
        lesion_relevance(queries, entries, gallery.sequence),
        same_kind(queries, entries, gallery.sequence),
        query_shows,
        entry_shows,
    )


def _measure(
    scores: Tensor, right: Tensor, judgement: Judgement | None, patients: Patients
) -> Measures:
    measures = recall_measures(scores, right, patients)
    if judgement is None:
        return measures
    return measures | truth_measures(
        scores, judgement.relevance, judgement.same_kind, judgement.query_shows, patients
    )
