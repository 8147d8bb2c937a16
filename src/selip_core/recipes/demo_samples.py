"""Sample studies and held-out images of the demonstration's page, read from its data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from selip_core.data import Manifest
from selip_core.evaluation import Lesion
from selip_core.findings import Report
from selip_core.report import HeldOutImage, NearestReport, ReportTexts, SampleStudy
from selip_core.report.slices import Slice, draw_slice, slice_through

Truth = Mapping[str, Sequence[Lesion]]
"""Lesions by study, with their labels."""


def choose_studies(truth: Truth, studies: Sequence[str], count: int) -> list[str]:
    """Studies that show as many kinds of lesions as ``count`` studies can, first come first served.

    Example:
        >>> infarct, tumour = (
        ...     (Lesion(kind, "pons", None, 1.0, frozenset()),) for kind in ("infarct", "tumour")
        ... )
        >>> choose_studies({"a": infarct, "b": infarct, "c": tumour}, ["a", "b", "c"], count=2)
        ['a', 'c']
    """
    left = [study for study in studies if truth[study]]
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
    lesions = truth[study]
    plane = _slice_through(manifest, rows[0], [_label(lesion) for lesion in lesions])
    images = []
    for index in rows:
        sequence = manifest.rows[index].sequence
        visible = _visible_labels(lesions, sequence)
        volume, _ = _read_canonical(manifest.volume_path(index))
        alt = f"{sequence} of {study}, axial slice with {len(visible)} lesions that it shows"
        images.append((sequence, draw_slice(plane, volume, visible, alt)))
    return SampleStudy(
        title=study,
        slice_mm=plane.mm,
        lesions=[(_told(one), bool((plane.lesions == _label(one)).any())) for one in lesions],
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
    visible = _visible_labels(truth[row.study], row.sequence)
    plane = _slice_through(manifest, index, visible)
    volume, _ = _read_canonical(manifest.volume_path(index))
    alt = f"{row.sequence} of {row.study}, axial slice through a lesion"
    return HeldOutImage(
        title=f"{row.study}, {row.sequence}",
        picture=draw_slice(plane, volume, visible, alt),
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


def _kinds(lesions: Sequence[Lesion]) -> set[str]:
    return {lesion.kind for lesion in lesions}


def _visible_labels(lesions: Sequence[Lesion], sequence: str) -> list[int]:
    return [_label(lesion) for lesion in lesions if sequence in lesion.visible_in]


def _label(lesion: Lesion) -> int:
    assert lesion.label is not None, "the simulator labels each lesion"
    return lesion.label


def _slice_through(manifest: Manifest, index: int, labels: Sequence[int]) -> Slice:
    mask_name = manifest.rows[index].mask
    assert mask_name is not None, "the simulator writes a mask for each study"
    mask, affine = _read_canonical(manifest.path.parent / mask_name)
    volume, _ = _read_canonical(manifest.volume_path(index))
    return slice_through(mask.astype(np.uint8), volume, affine, labels)


def _read_canonical(
    path: Path,
) -> tuple[Float[np.ndarray, "x y z"], Float[np.ndarray, "4 4"]]:
    """Return voxels in RAS order and their affine."""
    import nibabel

    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.dataobj, dtype=np.float32), image.affine


def _told(lesion: Lesion) -> str:
    side = f"{lesion.laterality} " if lesion.laterality else ""
    return f"{lesion.kind}, {side}{lesion.site}, {lesion.volume_ml:.1f} ml"


def _texts(sequence: str, report: Report) -> ReportTexts:
    return ReportTexts(sequence, report.text or "", getattr(report, "text_zh", None))
