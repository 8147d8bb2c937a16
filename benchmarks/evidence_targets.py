"""The targets of the study's arms: from rows of a training batch to raw similarities."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from evidence_data import EvidenceData
from selip_core import Finding, Report, SemanticSimilarity, SyntaxSimilarity
from selip_core.data import flip_laterality, flipped_id
from selip_core.evaluation import Lesion, lesion_relevance
from selip_core.findings import distinct_label
from selip_core.similarity import Dense, Similarity, SimilarityOperator, identical_positives

Rows = Int[Tensor, " batch"]
Target = Callable[[Rows], SimilarityOperator]
Reports = Sequence[Report]

SEMANTIC_TEMPERATURE = 0.1
"""The library's own; the own pair then keeps as much of the target as in ``best8``."""
ANY = "any sequence"
FIELDS = ("site", "laterality", "signal", "morphology", "extent")


def make_target(
    name: str, data: EvidenceData, reports: Reports, seed: int, noise: float = 0.0
) -> Target:
    """Return the target of this name, fitted on the reports of the training rows.

    Args:
        name: Of ``TARGETS``.
        data: The texts' embeddings and the truth.
        reports: One a training row, as training shows them.
        seed: Of noise and of the control's permutation.
        noise: Share of the findings' fields that extraction got wrong or lost; texts stay.
    """
    return TARGETS[name](data, noisy_reports(reports, noise, seed), seed)


def _fitted(similarity: Similarity, reports: Reports) -> Target:
    # Reports may repeat an id where they are permuted: rows are named by their place.
    named = [report.model_copy(update={"id": str(row)}) for row, report in enumerate(reports)]
    similarity.fit(named)
    return similarity.batch


def _syntax(**settings: object) -> Callable[[EvidenceData, Reports, int], Target]:
    return lambda data, reports, seed: _fitted(SyntaxSimilarity(**settings), reports)  # type: ignore[arg-type]


def _identical(data: EvidenceData, reports: Reports, seed: int) -> Target:
    labels = [distinct_label(report) for report in reports]
    return lambda rows: identical_positives([labels[row] for row in rows.tolist()])


def _paper(data: EvidenceData, reports: Reports, seed: int) -> Target:
    """The paper reads Chinese statements, whose site says the side."""

    def told(finding: Finding) -> Finding:
        site = f"{finding.laterality or ''} {finding.site}".strip()
        return finding.model_copy(update={"site": site, "text": str(finding.value("text_zh"))})

    return _fitted(
        SyntaxSimilarity.paper(),
        [
            report.model_copy(update={"findings": tuple(map(told, report.findings))})
            for report in reports
        ],
    )


def _semantic_similarity(data: EvidenceData) -> SemanticSimilarity:
    train = data.train
    rows = dict(zip([report.text for report in train.reports], train.words, strict=True))
    mirrored = [flip_laterality(report).text for report in train.reports]
    rows |= dict(zip(mirrored, train.mirrored_words, strict=True))
    return SemanticSimilarity(
        lambda texts: torch.stack([rows[text] for text in texts]),
        mapping="exp",
        temperature=SEMANTIC_TEMPERATURE,
    )


def _semantic(data: EvidenceData, reports: Reports, seed: int) -> Target:
    return _fitted(_semantic_similarity(data), reports)


def _mixed(data: EvidenceData, reports: Reports, seed: int) -> Target:
    return _fitted(0.5 * SyntaxSimilarity() + 0.5 * _semantic_similarity(data), reports)


def _shuffled(data: EvidenceData, reports: Reports, seed: int) -> Target:
    order = torch.randperm(len(reports), generator=torch.Generator().manual_seed(seed)).tolist()
    return _fitted(SyntaxSimilarity(), [reports[row] for row in order])


def _mirrored(lesion: Lesion) -> Lesion:
    sides = {"left": "right", "right": "left"}
    return replace(lesion, laterality=sides.get(lesion.laterality or "", lesion.laterality))


def _oracle(data: EvidenceData, reports: Reports, seed: int) -> Target:
    """The lesions that each row's own sequence shows, whatever the other's is."""
    rows = {row.report: row for row in data.train.manifest.rows}

    def shown(report: Report) -> list[Lesion]:
        is_mirrored = report.id not in rows
        row = rows[flipped_id(report.id) if is_mirrored else report.id]
        visible = [one for one in data.truth[row.study] if row.sequence in one.visible_in]
        told = map(_mirrored, visible) if is_mirrored else visible
        return [replace(one, visible_in=frozenset({ANY})) for one in told]

    lesions = [shown(report) for report in reports]

    def target(rows: Rows) -> SimilarityOperator:
        chosen = [lesions[row] for row in rows.tolist()]
        # To the power 8 by products, whose bits do not depend on where a value lies.
        return Dense(lesion_relevance(chosen, chosen, ANY).float().square().square().square())

    return target


TARGETS: dict[str, Callable[[EvidenceData, Reports, int], Target]] = {
    "identical": _identical,
    "paper": _paper,
    "mean1": _syntax(aggregation="mean", gamma=1.0),
    "mean8": _syntax(aggregation="mean", gamma=8.0),
    "best1": _syntax(gamma=1.0),
    "best4": _syntax(gamma=4.0),
    "best8": _syntax(gamma=8.0),
    "semantic": _semantic,
    "mixed": _mixed,
    "shuffled": _shuffled,
    "oracle": _oracle,
}
"""By name: from data, reports and seed to a target."""


def noisy_reports(reports: Reports, share: float, seed: int) -> list[Report]:
    """Return the reports with this share of their findings' fields wrong or missing, in halves.

    A wrong value is one that the field has elsewhere in the corpus.
    """
    if share == 0:
        return list(reports)
    chance = torch.Generator().manual_seed(seed)
    findings = [finding for report in reports for finding in report.findings]
    values = {
        field: sorted({str(one.value(field)) for one in findings if one.value(field) is not None})
        for field in FIELDS
    }

    def drawn(below: int) -> int:
        return int(torch.randint(below, (), generator=chance))

    def spoiled(finding: Finding) -> Finding:
        changes: dict[str, str | None] = {}
        for field in FIELDS:
            if float(torch.rand((), generator=chance)) >= share:
                continue
            others = [value for value in values[field] if value != finding.value(field)]
            is_lost = drawn(2) == 0 or not others
            changes[field] = None if is_lost else others[drawn(len(others))]
        return finding.model_copy(update=changes)

    return [
        report.model_copy(update={"findings": tuple(map(spoiled, report.findings))})
        for report in reports
    ]
