"""What rankings come to: figures of one sequence or of several, and the nearest reports."""

from collections.abc import Sequence
from typing import Any

import torch

from selip_core.data import Manifest
from selip_core.evaluation import (
    Measures,
    area_under_curve,
    area_under_curve_interval,
    patient_membership,
    pool,
)
from selip_core.recipes.galleries import abnormal_positions, normal_positions
from selip_core.recipes.ranking import Ranking

NEAREST = 10


def summarise(rankings: Sequence[Ranking]) -> dict[str, Any]:
    """The sections ``abnormal`` and ``normal`` of ``retrieve``, pooled over the rankings."""
    summary: dict[str, Any] = {}
    abnormal = [ranking.abnormal() for ranking in rankings]
    abnormal = [ranking for ranking in abnormal if ranking.gallery.queries]
    if abnormal:
        images = [len(ranking.gallery.queries) for ranking in abnormal]
        reports = [len(ranking.gallery.entries) for ranking in abnormal]
        summary["abnormal"] = {
            "image_to_text": _direction([each.image_to_text() for each in abnormal], reports),
            "text_to_image": _direction([each.text_to_image() for each in abnormal], images),
        }
    mixed = [ranking for ranking in rankings if _has_both(ranking)]
    if mixed:
        normal = [ranking.normal() for ranking in mixed]
        reports = [len(ranking.gallery.entries) for ranking in normal]
        summary["normal"] = {
            "image_to_text": _direction([each.image_to_text() for each in normal], reports),
            "normal_against_abnormal": _area_under_curve(mixed),
        }
    return summary


def nearest_reports(
    rankings: Sequence[Ranking], manifest: Manifest, count: int
) -> list[dict[str, Any]]:
    """For some abnormal volumes, evenly spread, the ten nearest abnormal reports.

    Each is ``{"row", "sequence", "report", "nearest": [{"report", "cosine", "true"}]}``, with the
    ids of the manifest; ``report`` is the volume's own. No text.
    """
    abnormal = [ranking.abnormal() for ranking in rankings]
    asked = [(one, query) for one in abnormal for query in range(len(one.gallery.queries))]
    chosen = torch.linspace(0, len(asked) - 1, min(count, len(asked))).round().long().tolist()
    return [_nearest(asked[place][0], asked[place][1], manifest) for place in chosen]


def _nearest(ranking: Ranking, query: int, manifest: Manifest) -> dict[str, Any]:
    gallery, row = ranking.gallery, manifest.rows[ranking.gallery.queries[query]]
    cosines, entries = ranking.scores[query].topk(min(NEAREST, len(gallery.entries)))
    return {
        "row": row.id,
        "sequence": gallery.sequence,
        "report": row.report,
        "nearest": [
            {
                "report": manifest.rows[gallery.entries[entry]].report,
                "cosine": round(cosine, 4),
                "true": gallery.entry_labels[entry] == gallery.labels[query],
            }
            for cosine, entry in zip(cosines.tolist(), entries.tolist(), strict=True)
        ],
    }


def _direction(parts: Sequence[Measures], gallery_sizes: Sequence[int]) -> dict[str, Any]:
    queries = [len(part["R@1"].values) for part in parts]
    asked = sum(size * count for size, count in zip(gallery_sizes, queries, strict=True))
    figures = {name: pool([part[name] for part in parts]).figure() for name in parts[0]}
    return {
        "queries": sum(queries),
        "gallery": round(asked / sum(queries), 1),
        **{name: figure for name, figure in figures.items() if figure is not None},
    }


def _has_both(ranking: Ranking) -> bool:
    labels = ranking.gallery.entry_labels
    return bool(normal_positions(labels)) and bool(abnormal_positions(labels))


def _area_under_curve(rankings: Sequence[Ranking]) -> dict[str, float]:
    normal, abnormal = [], []
    for ranking in rankings:
        scored = list(zip(ranking.normality().tolist(), ranking.query_patients, strict=True))
        labels = ranking.gallery.labels
        normal += [scored[position] for position in normal_positions(labels)]
        abnormal += [scored[position] for position in abnormal_positions(labels)]
    patients = sorted({name for _, each in normal + abnormal for name in each})
    scores = [torch.tensor([score for score, _ in group]) for group in (normal, abnormal)]
    members = [patient_membership([each for _, each in g], patients) for g in (normal, abnormal)]
    interval = area_under_curve_interval(scores[0], scores[1], members[0], members[1])
    return {
        "value": area_under_curve(scores[0], scores[1]),
        "low": interval.low,
        "high": interval.high,
        "chance": 0.5,
        "normal": len(normal),
        "abnormal": len(abnormal),
    }
