"""Rankings within one sequence, both ways, measured query by query."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.data import Manifest
from selip_core.evaluation import (
    Lesion,
    expected_ndcg,
    expected_recall,
    lesion_relevance,
    ndcg,
    recall_hits,
    same_group,
)
from selip_core.recipes.figures import Measured, Studies
from selip_core.recipes.galleries import Gallery, abnormal_positions, normal_positions

RECALL_AT = tuple(range(1, 11))
NDCG_AT = 10

Truth = dict[str, tuple[Lesion, ...]]
Direction = dict[str, Measured]
"""Measures by name, such as ``"R@1"`` and ``"nDCG@10"``."""


@dataclass(frozen=True)
class Ranking:
    """Scores of one gallery, and which answers are right.

    Attributes:
        gallery: Queries and entries.
        scores: Cosines of the queries' images and the entries' texts.
        query_studies: The study of each query.
        entry_studies: The studies whose volumes carry each entry's report.
        relevance: Graded by the latent truth, or None without it.
    """

    gallery: Gallery
    scores: Float[Tensor, "queries entries"]
    query_studies: tuple[Studies, ...]
    entry_studies: tuple[Studies, ...]
    relevance: Float[Tensor, "queries entries"] | None

    def image_to_text(self) -> Direction:
        """Each volume looks for its report."""
        right = same_group(self.gallery.labels, self.gallery.entry_labels)
        return _measure(self.scores, right, self.relevance, self.query_studies)

    def text_to_image(self) -> Direction:
        """Each distinct report looks for a volume that it describes."""
        right = same_group(self.gallery.entry_labels, self.gallery.labels)
        relevance = None if self.relevance is None else self.relevance.T
        return _measure(self.scores.T, right, relevance, self.entry_studies)

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
            query_studies=tuple(self.query_studies[position] for position in queries),
            entry_studies=tuple(self.entry_studies[position] for position in entries),
            relevance=None if self.relevance is None else self.relevance[rows][:, columns],
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
        manifest: Tells the study of each row.
        image_features: Unit features, one a row.
        text_features: Of the same rows' reports.
        truth: The lesions of each study, or None.
    """
    queries, entries = list(gallery.queries), list(gallery.entries)
    owners = [manifest.rows[row].study for row in queries]
    relevance = None
    if truth is not None:
        query_lesions = [truth[study] for study in owners]
        entry_lesions = [truth[manifest.rows[row].study] for row in entries]
        relevance = lesion_relevance(query_lesions, entry_lesions, gallery.sequence)
    carriers: dict[str, list[str]] = {label: [] for label in gallery.entry_labels}
    for study, label in zip(owners, gallery.labels, strict=True):
        carriers[label].append(study)
    return Ranking(
        gallery=gallery,
        scores=image_features[queries] @ text_features[entries].T,
        query_studies=tuple((study,) for study in owners),
        entry_studies=tuple(tuple(carriers[label]) for label in gallery.entry_labels),
        relevance=relevance,
    )


def _measure(
    scores: Tensor, right: Tensor, relevance: Tensor | None, studies: tuple[Studies, ...]
) -> Direction:
    measures = {
        f"R@{k}": Measured(recall_hits(scores, right, k), expected_recall(right, k), studies)
        for k in RECALL_AT
    }
    if relevance is not None:
        measures[f"nDCG@{NDCG_AT}"] = Measured(
            ndcg(scores, relevance, NDCG_AT), expected_ndcg(relevance, NDCG_AT), studies
        )
    return measures
