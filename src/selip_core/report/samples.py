"""Sample studies and held-out images, read from a simulated data set."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selip_core.data import Manifest
from selip_core.findings import Report
from selip_core.report.content import HeldOutImage, NearestReport, ReportTexts, SampleStudy
from selip_core.report.slices import draw_slice, slice_through

Truth = Mapping[str, Mapping[str, Any]]
"""Rows of ``truth.jsonl`` by study."""


def read_truth_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a ``truth.jsonl`` by study, with the labels of lesions in their masks."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["study"]: row for row in rows}


def choose_studies(truth: Truth, studies: Sequence[str], count: int) -> list[str]:
    """Studies that show as many kinds of lesions as ``count`` studies can, first come first served.

    Example:
        >>> infarct, tumour = {"lesions": [{"kind": "infarct"}]}, {"lesions": [{"kind": "tumour"}]}
        >>> choose_studies({"a": infarct, "b": infarct, "c": tumour}, ["a", "b", "c"], count=2)
        ['a', 'c']
    """
    left = [study for study in studies if truth[study]["lesions"]]
    chosen: list[str] = []
    shown: set[str] = set()
    while left and len(chosen) < count:
        best = max(left, key=lambda study: len(_kinds(truth[study]) - shown))
        left.remove(best)
        chosen.append(best)
        shown |= _kinds(truth[best])
    return chosen


def sample_study(manifest: Manifest, truth: Truth, study: str) -> SampleStudy:
    """All sequences of a study on one slice through its lesions, and what its reports say."""
    rows = [index for index, row in enumerate(manifest.rows) if row.study == study]
    lesions = truth[study]["lesions"]
    first = rows[0]
    plane = slice_through(
        _mask_path(manifest, first),
        manifest.volume_path(first),
        [lesion["label"] for lesion in lesions],
    )
    images = []
    for index in rows:
        sequence = manifest.rows[index].sequence
        visible = _visible_labels(lesions, sequence)
        alt = f"{sequence} of {study}, axial slice with {len(visible)} lesions that it shows"
        images.append((sequence, draw_slice(plane, manifest.volume_path(index), visible, alt)))
    return SampleStudy(
        title=study,
        slice_mm=plane.mm,
        lesions=[(_told(one), bool((plane.lesions == one["label"]).any())) for one in lesions],
        images=images,
        reports=[_texts(manifest.rows[at].sequence, manifest.report_of(at)) for at in rows],
    )


def held_out_image(
    manifest: Manifest,
    truth: Truth,
    row_id: str,
    nearest: Mapping[str, Sequence[Mapping[str, Any]]],
) -> HeldOutImage:
    """A test volume with its nearest reports by arm, as ``retrieve`` lists them."""
    index = next(index for index, row in enumerate(manifest.rows) if row.id == row_id)
    row = manifest.rows[index]
    visible = _visible_labels(truth[row.study]["lesions"], row.sequence)
    plane = slice_through(_mask_path(manifest, index), manifest.volume_path(index), visible)
    alt = f"{row.sequence} of {row.study}, axial slice through a lesion"
    return HeldOutImage(
        title=f"{row.study}, {row.sequence}",
        picture=draw_slice(plane, manifest.volume_path(index), visible, alt),
        text=manifest.report_of(index).text or "",
        nearest={
            arm: [
                NearestReport(
                    manifest.reports[one["report"]].text or "", one["cosine"], one["true"]
                )
                for one in entries
            ]
            for arm, entries in nearest.items()
        },
    )


def _kinds(row: Mapping[str, Any]) -> set[str]:
    return {lesion["kind"] for lesion in row["lesions"]}


def _visible_labels(lesions: Sequence[Mapping[str, Any]], sequence: str) -> list[int]:
    return [lesion["label"] for lesion in lesions if sequence in lesion["visible_in"]]


def _mask_path(manifest: Manifest, index: int) -> Path:
    mask = manifest.rows[index].mask
    assert mask is not None, "the simulator writes a mask for each study"
    return manifest.path.parent / mask


def _told(lesion: Mapping[str, Any]) -> str:
    side = f"{lesion['laterality']} " if lesion["laterality"] else ""
    return f"{lesion['kind']}, {side}{lesion['site']}, {lesion['volume_ml']:.1f} ml"


def _texts(sequence: str, report: Report) -> ReportTexts:
    return ReportTexts(sequence, report.text or "", getattr(report, "text_zh", None))
