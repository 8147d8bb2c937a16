"""What is measured of a trained model on one split."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from evidence_data import PROMPTS, EvidenceData, Part, reduced_precision
from selip_core import DualEncoder, Report
from selip_core._optional import require
from selip_core.evaluation import area_under_curve
from selip_core.recipes.galleries import Gallery, sequence_galleries
from selip_core.recipes.ranking import Ranking, rank
from selip_core.simulation.kinds import KINDS

FIGURES = ("R@1", "R@5", "R@10", "nDCG@10", "kind@1")
LABEL_SHARES = {1: 10, 5: 10, 10: 5, 100: 1}
"""Percent of the training labels that a probe sees, and how many draws are averaged."""

FEWEST = 5
"""A finding is measured where this many test studies have it, and as many have not."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """A split's unit features in evaluation mode, on the processor.

    Attributes:
        part: The split.
        images: Of each row's volume.
        texts: Of each row's report.
    """

    part: Part
    images: Float[Tensor, "rows d"]
    texts: Float[Tensor, "rows d"]

    def select(self, rows: Sequence[int]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Return the features of some rows."""
        return self.images[list(rows)], self.texts[list(rows)]

    def rankings(self, data: EvidenceData) -> list[Ranking]:
        """Return, of each sequence, the ranking of its volumes and distinct reports."""
        manifest = self.part.manifest
        return [
            rank(gallery, manifest, self.images, self.texts, data.truth)
            for gallery in sequence_galleries(manifest)
        ]


@torch.no_grad()
def embed(model: DualEncoder, part: Part, batch: int = 100) -> Embedded:
    """Return the features of a split; the model is in evaluation mode."""
    device = part.images.device
    with reduced_precision(device):
        images = [
            model.encode_image(part.volumes(rows))
            for rows in torch.split(torch.arange(len(part.images), device=device), batch)
        ]
        texts = model.encode_text(part.words.to(device))
    return Embedded(part, torch.cat(images).float().cpu(), texts.float().cpu())


def validation_score(model: DualEncoder, data: EvidenceData) -> float:
    """Return what chooses hyperparameters: the mean of R@1, R@5 and R@10, both ways."""
    rankings = [each.abnormal() for each in embed(model, data.validation).rankings(data)]
    measures = [way for each in rankings for way in (each.image_to_text(), each.text_to_image())]
    values = [each[f"R@{k}"].values.mean() for each in measures for k in (1, 5, 10)]
    return float(torch.stack(values).mean())


def measure(model: DualEncoder, data: EvidenceData) -> dict[str, Any]:
    """Return every measure on the test split: values, and for retrieval intervals by patient.

    Of several sequences the means of their values, and what each of them has.
    """
    train, test = embed(model, data.train), embed(model, data.test)
    scale = model.logit_scale.item()
    with torch.no_grad(), reduced_precision(data.test.images.device):
        prompts = model.encode_text(data.prompts.to(data.test.images.device)).float().cpu()
    found = {}
    for ranking in test.rankings(data):
        sequence = ranking.gallery.sequence
        found[sequence] = {
            **retrieval(ranking),
            **geometry(*test.select(ranking.gallery.queries)),
            **calibration(ranking.abnormal(), scale),
            **zero_shot(test, prompts[data.sequences.index(sequence)], ranking.gallery),
            **probes(train, test, data, sequence),
        }
    if len(found) == 1:
        return next(iter(found.values()))
    return means(list(found.values())) | {"by_sequence": found}


def means(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means of equal names at any depth; an interval is not one of several galleries.

    Example:
        >>> means([{"R@1": {"value": 0.2, "low": 0.1}}, {"R@1": {"value": 0.4, "low": 0.3}}])
        {'R@1': {'value': 0.30000000000000004}}
    """
    names = dict.fromkeys(name for each in found for name in each if name not in ("low", "high"))
    told: dict[str, Any] = {}
    for name in names:
        values = [each[name] for each in found if name in each]
        is_number = not isinstance(values[0], Mapping)
        told[name] = sum(values) / len(values) if is_number else means(values)
    return told


def retrieval(ranking: Ranking) -> dict[str, Any]:
    """Return recall, nDCG and kind@1 of abnormal volumes, both ways, and of normal volumes."""
    abnormal, normal = ranking.abnormal(), ranking.normal()
    found: dict[str, Any] = {}
    ways = {"image_to_text": abnormal.image_to_text(), "text_to_image": abnormal.text_to_image()}
    for way, measures in ways.items():
        found |= {f"{way} {figure}": measures[figure].figure() for figure in FIGURES}
    if normal.gallery.queries:
        found["normal R@1"] = normal.image_to_text()["R@1"].figure()
    found["gallery"] = len(abnormal.gallery.entries)
    found["queries"] = len(abnormal.gallery.queries)
    return found


def geometry(images: Float[Tensor, "n d"], texts: Float[Tensor, "n d"]) -> dict[str, float]:
    """Return alignment and uniformity (Wang and Isola, arXiv 2005.10242); lower is better."""

    def uniformity(features: Tensor) -> float:
        squares = torch.pdist(features).square()
        return float((-2 * squares).exp().mean().log())

    return {
        "alignment": float((images - texts).square().sum(1).mean()),
        "image_uniformity": uniformity(images),
        "text_uniformity": uniformity(texts),
    }


def calibration(ranking: Ranking, logit_scale: float) -> dict[str, float]:
    """Return, of abnormal volumes, how far cosines follow lesions and the softmax the hits.

    ``rank_correlation`` is Spearman's, of the cosines of volumes and reports with the grades of
    the simulator's lesions. ``calibration_error`` is the expected calibration error, in ten bins,
    of the probability of the first answer.
    """
    stats = require("scipy.stats", "demo")
    assert ranking.judgement is not None, "the simulator tells the truth"
    grades = ranking.judgement.relevance.flatten()
    correlation = float(stats.spearmanr(ranking.scores.flatten(), grades).statistic)
    likely, first = (logit_scale * ranking.scores).softmax(1).max(1)
    labels = ranking.gallery
    hits = torch.tensor(
        [
            labels.entry_labels[answer] == label
            for answer, label in zip(first.tolist(), labels.labels, strict=True)
        ],
        dtype=likely.dtype,
    )
    bins = (likely * 10).long().clamp(max=9)
    gaps = [
        (likely[bins == bin] - hits[bins == bin]).sum().abs() for bin in torch.unique(bins).tolist()
    ]
    error = float(torch.stack(gaps).sum() / len(hits))
    return {"rank_correlation": correlation, "calibration_error": error}


def zero_shot(
    test: Embedded, prompts: Float[Tensor, "prompts d"], gallery: Gallery
) -> dict[str, Any]:
    """Return how well the cosine with each finding's prompt tells who has it, and their mean.

    The cosine with the prompt of the normal brain is taken off.
    """
    images, _ = test.select(gallery.queries)
    reports = [test.part.manifest.report_of(row) for row in gallery.queries]
    aucs = zero_shot_aucs(images @ prompts.T, reports)
    return {"zero_shot_auc": mean_of(aucs), "zero_shot_aucs": aucs}


def zero_shot_aucs(
    cosines: Float[Tensor, "volumes prompts"], reports: Sequence[Report]
) -> dict[str, float]:
    """Return the AUC of each finding's prompt, by its name."""
    names = list(PROMPTS)
    scores = cosines - cosines[:, names.index("normal"), None]
    present = {name: told_by(name, reports) for name in names if name != "normal"}
    return {
        name: area_under_curve(scores[has, place], scores[~has, place])
        for place, name in enumerate(names)
        if name in present and is_measurable(has := present[name])
    }


def told_by(name: str, reports: Sequence[Report]) -> Bool[Tensor, " reports"]:
    """Tell which reports have a finding of this site, side or morphology, or any."""

    def has(report: Report) -> bool:
        if name == "abnormal":
            return bool(report.findings)
        sides = {"left": ("left", "bilateral"), "right": ("right", "bilateral")}
        return any(
            name in (one.site, one.morphology) or one.laterality in sides.get(name, ())
            for one in report.findings
        )

    return torch.tensor([has(report) for report in reports])


def is_measurable(has: Bool[Tensor, " studies"]) -> bool:
    """Whether there are enough studies with and without."""
    return FEWEST <= int(has.sum()) <= len(has) - FEWEST


def kinds_shown(
    part: Part, data: EvidenceData, sequence: str
) -> tuple[list[int], dict[str, Bool[Tensor, " rows"]]]:
    """Return the rows of a sequence, and which show each kind of lesion: what a probe learns."""
    rows = [place for place, row in enumerate(part.manifest.rows) if row.sequence == sequence]
    shown = [
        {
            one.kind
            for one in data.truth[part.manifest.rows[row].study]
            if sequence in one.visible_in
        }
        for row in rows
    ]
    return rows, {kind: torch.tensor([kind in each for each in shown]) for kind in KINDS}


def probes(
    training: Embedded, testing: Embedded, data: EvidenceData, sequence: str
) -> dict[str, Any]:
    """Return the mean AUC over kinds of a linear probe, by the percentage of labels it sees.

    A few labels are drawn several times, with one study that has the kind and one that has not at
    least; the draws depend on nothing but their number, so that they are the same for all arms.
    """
    known_rows, known = kinds_shown(training.part, data, sequence)
    test_rows, wanted = kinds_shown(testing.part, data, sequence)
    train, test = training.images[known_rows], testing.images[test_rows]
    kinds = [kind for kind in KINDS if is_measurable(wanted[kind]) and is_measurable(known[kind])]
    mean, spread = train.mean(0), train.std(0).clamp(min=1e-6)
    train, test = (train - mean) / spread, (test - mean) / spread
    found: dict[str, Any] = {}
    for percent, draws in LABEL_SHARES.items():
        aucs = {
            kind: mean_of(
                {
                    str(draw): _probe(train, known[kind], test, wanted[kind], percent, draw)
                    for draw in range(draws)
                }
            )
            for kind in kinds
        }
        found[f"probe_auc {percent} %"] = mean_of(aucs)
        if percent == max(LABEL_SHARES):
            found["probe_aucs"] = aucs
    return found


def _probe(
    train: Tensor, known: Tensor, test: Tensor, wanted: Tensor, percent: int, draw: int
) -> float:
    linear_model = require("sklearn.linear_model", "demo")
    chosen = _drawn(known, max(2, round(len(known) * percent / 100)), draw)
    probe = linear_model.LogisticRegression(C=0.1, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe.fit(train[chosen].numpy(), known[chosen].numpy())
    scores = torch.from_numpy(probe.decision_function(test.numpy()))
    return area_under_curve(scores[wanted], scores[~wanted])


def _drawn(known: Bool[Tensor, " n"], count: int, draw: int) -> Tensor:
    """Return so many different rows, one with and one without the kind among them."""
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(draw))
    of_each = [order[known[order] == wanted][0] for wanted in (True, False)]
    rest = [row for row in order.tolist() if row not in of_each]
    return torch.tensor([*map(int, of_each), *rest])[:count]


def mean_of(values: Mapping[str, float]) -> float:
    """Return the mean of what there is; NaN of nothing."""
    return sum(values.values()) / len(values) if values else float("nan")
