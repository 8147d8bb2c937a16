"""What is measured of a trained model on one split."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from evidence_data import PROMPTS, SEQUENCE, EvidenceData, Part
from selip_core import DualEncoder, Report
from selip_core._optional import require
from selip_core.evaluation import area_under_curve
from selip_core.recipes.galleries import sequence_galleries
from selip_core.recipes.ranking import Ranking, rank
from selip_core.simulation.kinds import KINDS

FIGURES = ("R@1", "R@5", "R@10", "nDCG@10", "kind@1")
LABEL_SHARES = {1: 10, 5: 10, 10: 5, 100: 1}
"""Percent of the training labels that a probe sees, and how many draws are averaged."""

FEWEST = 5
"""A finding is measured where this many test studies have it, and as many have not."""


@torch.no_grad()
def embed_images(model: DualEncoder, images: Tensor, batch: int = 100) -> Float[Tensor, "n d"]:
    """Return unit features in evaluation mode; the model is left in the mode it was in."""
    was_training = model.training
    model.eval()
    parts = [model.encode_image(part) for part in torch.split(images, batch)]
    model.train(was_training)
    return torch.cat(parts)


@torch.no_grad()
def rank_part(model: DualEncoder, part: Part, data: EvidenceData) -> Ranking:
    """Return the ranking of the part's volumes and distinct reports."""
    (gallery,) = sequence_galleries(part.manifest)
    images, texts = embed_images(model, part.images), model.encode_text(part.words)
    return rank(gallery, part.manifest, images, texts, data.truth)


def validation_score(model: DualEncoder, data: EvidenceData) -> float:
    """Return what chooses hyperparameters: the mean of R@1, R@5 and R@10, both ways."""
    ranking = rank_part(model, data.validation, data).abnormal()
    measures = (ranking.image_to_text(), ranking.text_to_image())
    values = [each[f"R@{k}"].values.mean() for each in measures for k in (1, 5, 10)]
    return float(torch.stack(values).mean())


def measure(model: DualEncoder, data: EvidenceData) -> dict[str, Any]:
    """Return every measure on the test split: values, and for retrieval intervals by patient."""
    ranking = rank_part(model, data.test, data)
    train_features, test_features = (
        embed_images(model, part.images) for part in (data.train, data.test)
    )
    texts = model.encode_text(data.test.words).detach()
    prompts = model.encode_text(data.prompts).detach()
    zero_shot = zero_shot_aucs(test_features @ prompts.T, data.test.reports)
    probes = probe_aucs(train_features, test_features, data)
    return {
        **retrieval(ranking),
        **geometry(test_features, texts),
        **calibration(ranking.abnormal(), model.logit_scale.item()),
        "zero_shot_auc": mean_of(zero_shot),
        "zero_shot_aucs": zero_shot,
        **probes,
    }


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
    """Return how far cosines follow the lesions, and how far the softmax follows the hits.

    ``rank_correlation`` is Spearman's, of the cosines of all volumes and reports with the grades of
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


def zero_shot_aucs(
    cosines: Float[Tensor, "volumes prompts"], reports: Sequence[Report]
) -> dict[str, float]:
    """Return the AUC of each finding's prompt, less that of the normal brain."""
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


def kinds_shown(part: Part, data: EvidenceData) -> dict[str, Bool[Tensor, " rows"]]:
    """Return which volumes show each kind of lesion: what a probe learns."""
    shown = [
        {one.kind for one in data.truth[row.study] if SEQUENCE in one.visible_in}
        for row in part.manifest.rows
    ]
    return {kind: torch.tensor([kind in each for each in shown]) for kind in KINDS}


def probe_aucs(
    train: Float[Tensor, "n d"], test: Float[Tensor, "m d"], data: EvidenceData
) -> dict[str, Any]:
    """Return the mean AUC over kinds of a linear probe, by the percentage of labels it sees.

    A few labels are drawn several times, with one study that has the kind and one that has not at
    least; the draws depend on nothing but their number, so that they are the same for all arms.
    """
    known, wanted = kinds_shown(data.train, data), kinds_shown(data.test, data)
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
