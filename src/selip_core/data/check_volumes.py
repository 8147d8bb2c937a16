"""Checks that open the volumes of a manifest."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selip_core.data._unusable import UnusableVolumeError
from selip_core.data.check_result import Issue
from selip_core.data.manifest import Manifest
from selip_core.data.volumes import open_volume, read_volume
from selip_core.errors import DataError

SPACING_RANGE = (0.2, 10.0)
"""Millimetres; voxels of a head outside it are odd."""

SPACING_RATIO = 2.0
"""A spacing that differs by more than this factor from the median of its sequence is odd."""

LARGEST_OBLIQUITY = 30.0
"""Degrees between the axes of a volume and those of the scanner; more is odd."""


@dataclass(frozen=True)
class _Geometry:
    """Of one volume: axis codes in file order, voxel size in mm (right, anterior, superior)."""

    axes: str
    spacing: tuple[float, float, float]
    obliquity: float


def check_volumes(manifest: Manifest, workers: int | None, progress: bool) -> list[Issue]:
    """Return what is wrong with the volumes and masks of a manifest, read in parallel.

    Raises:
        ValueError: If ``workers`` is below 1.
    """
    from tqdm import tqdm

    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        results = pool.map(lambda index: _examine(manifest, index), range(len(manifest)))
        bar = tqdm(results, "reading volumes", len(manifest), unit="volume", disable=not progress)
        examined = list(bar)
    issues = [issue for _, found in examined for issue in found]
    geometries = {
        index: geometry for index, (geometry, _) in enumerate(examined) if geometry is not None
    }
    return issues + list(_odd_geometries(manifest, geometries))


def _examine(manifest: Manifest, index: int) -> tuple[_Geometry | None, list[Issue]]:
    row, where = manifest.rows[index], manifest.place(index, "volume")
    try:
        image = read_volume(manifest.volume_path(index), where)
    except DataError as error:
        found = [problem.message for problem in error.problems]
        return None, [Issue("error", "volume", where, message, row.volume) for message in found]
    except ImportError as error:
        return None, [Issue("error", "volume", where, str(error), row.volume)]
    affine = np.asarray(image.affine)
    issues = list(_check_mask(manifest, index, tuple(image.shape[1:]), affine))
    return _geometry_of(affine), issues


def _check_mask(
    manifest: Manifest, index: int, shape: tuple[int, ...], affine: NDArray[np.float64]
) -> Iterator[Issue]:
    mask, where = manifest.rows[index].mask, manifest.place(index, "mask")
    if mask is None:
        return
    try:
        image = open_volume(manifest.path.parent / mask)
    except UnusableVolumeError as error:
        yield Issue("error", "mask", where, str(error), mask)
        return
    got = tuple(image.shape[1:])
    if got != shape:
        message = f"the mask has shape {got}, its volume {shape}; resample it to the volume"
        yield Issue("error", "mask", where, message, mask)
    elif not np.allclose(image.affine, affine, atol=0.01):
        message = "the mask lies elsewhere than its volume (their affines differ)"
        yield Issue("warning", "mask", where, message, mask)


def _geometry_of(affine: NDArray[np.float64]) -> _Geometry:
    from nibabel import aff2axcodes, io_orientation
    from nibabel.affines import obliquity, voxel_sizes

    order = np.argsort(io_orientation(affine)[:, 0])
    right, anterior, superior = voxel_sizes(affine)[order].tolist()
    return _Geometry(
        axes="".join(aff2axcodes(affine)),
        spacing=(right, anterior, superior),
        obliquity=float(np.degrees(obliquity(affine)).max()),
    )


def _odd_geometries(manifest: Manifest, geometries: dict[int, _Geometry]) -> Iterator[Issue]:
    sequences: dict[str, list[int]] = defaultdict(list)
    for index in geometries:
        sequences[manifest.rows[index].sequence].append(index)
    for indices in sequences.values():
        spacings = [geometries[index].spacing for index in indices]
        median = tuple(np.median(np.array(spacings), axis=0).tolist())
        usual_axes = Counter(geometries[index].axes for index in indices).most_common(1)[0][0]
        for index in indices:
            row, where = manifest.rows[index], manifest.place(index, "volume")
            spacing_message = _odd_spacing(geometries[index].spacing, median)
            if spacing_message:
                yield Issue("warning", "spacing", where, spacing_message, row.volume)
            orientation_message = _odd_orientation(geometries[index], usual_axes)
            if orientation_message:
                yield Issue("warning", "orientation", where, orientation_message, row.volume)


def _odd_spacing(spacing: Sequence[float], median: Sequence[float]) -> str | None:
    shown = _millimetres(spacing)
    low, high = SPACING_RANGE
    if not all(low <= length <= high for length in spacing):
        return f"spacing {shown} has an axis outside {low} to {high} mm; is the header right?"
    ratios = [length / usual for length, usual in zip(spacing, median, strict=True)]
    if not all(1 / SPACING_RATIO <= ratio <= SPACING_RATIO for ratio in ratios):
        return (
            f"spacing {shown} differs from the sequence's median {_millimetres(median)} "
            f"by more than a factor of {SPACING_RATIO:g}"
        )
    return None


def _odd_orientation(geometry: _Geometry, usual_axes: str) -> str | None:
    if geometry.obliquity > LARGEST_OBLIQUITY:
        return (
            f"its axes lie {geometry.obliquity:.0f} degrees off the scanner's; is the affine right?"
        )
    if geometry.axes != usual_axes:
        return f"its axes run {geometry.axes}, most of the sequence {usual_axes}; harmless if true"
    return None


def _millimetres(spacing: Sequence[float]) -> str:
    return " x ".join(f"{length:.2f}" for length in spacing) + " mm (right, anterior, superior)"
