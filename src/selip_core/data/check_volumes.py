"""Checks that open the volumes of a manifest."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selip_core.data.check_result import Issue
from selip_core.data.manifest import Manifest
from selip_core.data.memory import VOLUME_MEMORY, preparing_memory, reading_memory
from selip_core.data.preprocessing import Preprocessing
from selip_core.data.unusable import UnusableVolumeError, describe_failure, limit_bytes
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


def check_volumes(
    manifest: Manifest,
    workers: int | None,
    progress: bool,
    preprocessing: Preprocessing,
    prepare: bool = False,
) -> list[Issue]:
    """Return what is wrong with the volumes and masks of a manifest, read in parallel.

    Args:
        manifest: Its rows.
        workers: Threads that read; one for each processor where None.
        progress: Show a progress bar.
        preprocessing: How training reads and resamples volumes.
        prepare: Preprocess each volume too, instead of comparing its extent with the limits.

    Raises:
        ValueError: If ``workers`` is below 1.
    """
    from tqdm import tqdm

    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    examiner = _Examiner(manifest, preprocessing, prepare)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        results = pool.map(examiner.examine, range(len(manifest)))
        bar = tqdm(results, "reading volumes", len(manifest), unit="volume", disable=not progress)
        examined = list(bar)
    issues = [issue for _, found in examined for issue in found]
    geometries = {
        index: geometry for index, (geometry, _) in enumerate(examined) if geometry is not None
    }
    return issues + list(_odd_geometries(manifest, geometries))


@dataclass(frozen=True)
class _Examiner:
    """Reads one row at a time; whatever goes wrong with it is an issue of that row."""

    manifest: Manifest
    preprocessing: Preprocessing
    prepare: bool

    def examine(self, index: int) -> tuple[_Geometry | None, list[Issue]]:
        """Return the geometry of a row's volume, if it can be read, and the row's issues."""
        row, where = self.manifest.rows[index], self.manifest.place(index, "volume")
        try:
            shape, affine = self._read(self.manifest.volume_path(index), where)
            geometry = _geometry_of(affine)
        except Exception as error:
            messages = _messages(error)
            return None, [Issue("error", "volume", where, text, row.volume) for text in messages]
        return geometry, list(self._check_mask(index, shape, affine))

    def _read(self, path: Path, where: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        """Return shape and affine of a volume that can be used; its voxels are let go."""
        settings = self.preprocessing
        with VOLUME_MEMORY.place(preparing_memory if self.prepare else reading_memory):
            image = read_volume(path, where, settings.geometry, settings.max_volume_gib)
            shape, affine = tuple(image.shape[1:]), np.asarray(image.affine)
            if self.prepare:
                settings.prepare(image, where)
            else:
                settings.require_fit(image)
        return shape, affine

    def _check_mask(
        self, index: int, shape: tuple[int, ...], affine: NDArray[np.float64]
    ) -> Iterator[Issue]:
        mask, where = self.manifest.rows[index].mask, self.manifest.place(index, "mask")
        if mask is None:
            return
        try:
            with VOLUME_MEMORY.place(reading_memory):
                image = open_volume(
                    self.manifest.path.parent / mask,
                    self.preprocessing.geometry,
                    limit_bytes(self.preprocessing.max_volume_gib),
                )
        except Exception as error:
            yield from (Issue("error", "mask", where, text, mask) for text in _messages(error))
            return
        got = tuple(image.shape[1:])
        if got != shape:
            message = f"the mask has shape {got}, its volume {shape}; resample it to the volume"
            yield Issue("error", "mask", where, message, mask)
        elif not np.allclose(image.affine, affine, atol=0.01):
            message = "the mask lies elsewhere than its volume (their affines differ)"
            yield Issue("warning", "mask", where, message, mask)


def _messages(error: Exception) -> list[str]:
    """Return what to say of an exception, in each of its problems."""
    if isinstance(error, DataError):
        return [problem.message for problem in error.problems]
    if isinstance(error, UnusableVolumeError | ImportError):
        return [str(error)]
    return [describe_failure(error)]


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
