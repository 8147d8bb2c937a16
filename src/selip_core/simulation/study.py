"""One simulated study: a head, its lesions, its images and its reports."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int16, UInt8

from selip_core.findings import Report
from selip_core.simulation.anatomy import Anatomy, load_anatomy
from selip_core.simulation.contrast import SEQUENCES, Tissue
from selip_core.simulation.deformation import Deformation, draw_deformation
from selip_core.simulation.grid import Grid
from selip_core.simulation.kinds import KINDS
from selip_core.simulation.lesions import draw_lesions
from selip_core.simulation.parameters import Parameters
from selip_core.simulation.patients import Visit
from selip_core.simulation.placement import Head, PlacedLesion, place_lesions
from selip_core.simulation.rendering import render
from selip_core.simulation.reports import SeenLesion, write_report

AIR = 0.1
"""Voxels with less tissue and fluid than this are outside the head, and 0 in every image."""

Mask = UInt8[np.ndarray, "x y z"]


@dataclass(frozen=True, eq=False)
class Study:
    """All of one study.

    Attributes:
        visit: Which study, whose, and in which split.
        grid: The voxels of all images.
        volumes: Image by sequence; ADC in 1e-6 square millimetres a second.
        mask: 0 outside lesions, else the ``label`` of the lesion in ``truth``.
        truth: The row of ``truth.jsonl``.
        reports: One by sequence.
    """

    visit: Visit
    grid: Grid
    volumes: dict[str, Int16[np.ndarray, "x y z"]]
    mask: Mask
    truth: dict[str, Any]
    reports: dict[str, Report]


def simulate_study(visit: Visit, parameters: Parameters) -> Study:
    """Make one study. It depends on the parameters and on its visit alone.

    Each part has its own stream of chance, so that leaving a sequence out changes no other.
    """
    patient = _streams(parameters.seed, 1, visit.patient_index, ["head"])
    parts = [part + name for part in ("image ", "words ") for name in SEQUENCES]
    streams = _streams(parameters.seed, 2, visit.index, ["pose", "lesions", "shapes", *parts])
    grid, anatomy = Grid(parameters.spacing), load_anatomy(parameters.spacing)
    deformation = draw_deformation(patient["head"], streams["pose"])
    head, inside = _form_head(deformation, grid, anatomy)
    planned = draw_lesions(streams["lesions"], parameters.normal_share, parameters.tail)
    placed = place_lesions(streams["shapes"], planned, head, anatomy)
    mask = _label(placed, head, inside)
    seen = [
        SeenLesion(one.lesion, float((mask == label).sum() * grid.voxel_ml))
        for label, one in enumerate(placed, start=1)
    ]
    held_out_share = 0.0 if visit.split == "train" else parameters.held_out_share
    return Study(
        visit=visit,
        grid=grid,
        volumes={
            name: render(name, head, inside, placed, streams["image " + name])
            for name in parameters.sequences
        },
        mask=mask,
        truth=_truth(visit, seen, mask, grid, parameters.sequences),
        reports={
            name: write_report(visit.study, name, seen, streams["words " + name], held_out_share)
            for name in parameters.sequences
        },
    )


def _streams(
    seed: int, domain: int, index: int, names: list[str]
) -> dict[str, np.random.Generator]:
    """Return independent streams of chance by name."""
    sequences = np.random.SeedSequence(seed, spawn_key=(domain, index)).spawn(len(names))
    return {
        name: np.random.default_rng(child) for name, child in zip(names, sequences, strict=True)
    }


def _form_head(
    deformation: Deformation, grid: Grid, anatomy: Anatomy
) -> tuple[Head, Bool[np.ndarray, "x y z"]]:
    """Return the voxels of the head, and where on the grid they are."""
    positions = deformation.to_template(grid)
    inside = anatomy.may_hold(positions)
    fractions = anatomy.sample(positions[inside])
    solid = fractions.sum(axis=0) > AIR
    inside[inside] = solid
    return Head(positions[inside], Tissue(*fractions[:, solid]), grid.spacing), inside


def _label(placed: list[PlacedLesion], head: Head, inside: Bool[np.ndarray, "x y z"]) -> Mask:
    labels = np.zeros(len(head.positions), dtype=np.uint8)
    for label, one in enumerate(placed, start=1):
        labels[one.mask(head.tissue) & (labels == 0)] = label
    mask = np.zeros(inside.shape, dtype=np.uint8)
    mask[inside] = labels
    return mask


def _truth(
    visit: Visit, seen: list[SeenLesion], mask: Mask, grid: Grid, sequences: tuple[str, ...]
) -> dict[str, Any]:
    present = {one.lesion.kind.name for one in seen}
    return {
        "study": visit.study,
        "patient": visit.patient,
        "split": visit.split,
        "simulated": True,
        "labels": {kind: kind in present for kind in KINDS},
        "lesions": [
            {
                "kind": one.lesion.kind.name,
                "stage": one.lesion.stage.name,
                "site": one.lesion.site.name,
                "laterality": one.lesion.laterality,
                "volume_ml": round(one.volume_ml, 3),
                "centre_mm": _centre(mask == label, grid),
                "label": label,
                "visible_in": [name for name in sequences if name in one.lesion.stage.signals],
            }
            for label, one in enumerate(seen, start=1)
        ],
    }


def _centre(region: Bool[np.ndarray, "x y z"], grid: Grid) -> list[float]:
    """Return the middle of a region in RAS millimetres."""
    index = np.argwhere(region).mean(axis=0)
    return [round(float(value), 1) for value in grid.affine[:3, :3] @ index + grid.affine[:3, 3]]
