"""Volumes on disk, refused with cause and remedy where they are not what they should be."""

import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from selip_core.data.dicom import read_dicom
from selip_core.data.memory import VOLUME_MEMORY, reading_memory
from selip_core.data.nifti import read_nifti
from selip_core.data.nifti_geometry import Geometry, require_geometry
from selip_core.data.quiet import quiet_readers
from selip_core.data.unusable import (
    UnusableVolumeError,
    describe_failure,
    describe_os_error,
    limit_bytes,
    require_file,
)
from selip_core.errors import DataError, Problem

if TYPE_CHECKING:
    from monai.data import MetaTensor

VOXEL_RANGE = (0.02, 200.0)
"""Millimetres; a voxel of a head outside it is an error of units, or a damaged header."""

_logger = logging.getLogger(__name__)


def read_volume(
    path: str | os.PathLike[str],
    where: str,
    geometry: Geometry = "auto",
    max_volume_gib: float | None = None,
) -> "MetaTensor":
    """Return a volume as MONAI's MetaTensor (1, i, j, k), float32, with its affine in RAS mm.

    The axes keep the order of the file; only the affine says which is which. Intensities carry the
    scaling that the file declares, applied once.

    Args:
        path: A NIfTI file, or a folder with one DICOM series (extra ``dicom``).
        where: The place that errors name instead of the path, such as
            ``"manifest.jsonl:12 $.volume"``.
        geometry: Which form of a NIfTI header gives the affine. ``"auto"``: the sform if it is set,
            else the qform; refused if both are set and disagree by more than half a voxel.
            ``"sform"`` and ``"qform"`` take that form, and refuse files without it.
        max_volume_gib: Largest unpacked size in GiB; by default the environment variable
            ``SELIP_MAX_VOLUME_GIB``, or 2.

    Raises:
        DataError: If the file is missing, damaged, of another format, not one 3D volume, too large,
            open in its geometry, not finite, or constant.
        ValueError: If a parameter is out of range.

    Example:
        >>> read_volume("missing.nii.gz", "manifest.jsonl:12 $.volume")
        Traceback (most recent call last):
        ...
        selip_core.errors.DataError: a volume cannot be used (1 problem)
          manifest.jsonl:12 $.volume: there is no such file or folder
    """
    limit = limit_bytes(max_volume_gib)
    require_geometry(geometry)
    try:
        with VOLUME_MEMORY.place(reading_memory):
            image = open_volume(Path(path), geometry, limit)
            _require_sound(image)
    except UnusableVolumeError as error:
        raise DataError("a volume cannot be used", [Problem(where, str(error))]) from None
    return image


def open_volume(path: Path, geometry: Geometry = "auto", limit: int | None = None) -> "MetaTensor":
    """Return a volume without looking at its voxels: a mask, say, may be constant.

    Args:
        path: A NIfTI file, or a folder with one DICOM series.
        geometry: See :func:`read_volume`.
        limit: Largest unpacked size in bytes; by default :func:`limit_bytes`.

    Raises:
        UnusableVolumeError: If it cannot be read.
        ImportError: If a folder is to be read without pydicom (extra ``dicom``).
    """
    limit = limit_bytes() if limit is None else limit
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return read_dicom(path, limit)
        require_file(mode)
        with quiet_readers():
            return read_nifti(path, geometry, limit)
    except (UnusableVolumeError, ImportError):
        raise
    except OSError as error:
        _logger.debug("a volume cannot be read", exc_info=True)
        raise UnusableVolumeError(describe_os_error(error, path)) from None
    except Exception as error:  # readers raise whatever their formats raise, and name the path
        _logger.debug("a volume cannot be read", exc_info=True)
        raise UnusableVolumeError(describe_failure(error)) from None


def _require_sound(image: "MetaTensor") -> None:
    affine = image.affine[:3, :3]
    sizes = affine.norm(dim=0)
    if not torch.isfinite(image.affine).all() or torch.linalg.det(affine / sizes).abs() < 1e-6:
        raise UnusableVolumeError("its affine is singular or not finite; correct its header")
    low, high = VOXEL_RANGE
    if not ((low <= sizes) & (sizes <= high)).all():
        shown = " x ".join(f"{size:.3g}" for size in sizes.tolist())
        raise UnusableVolumeError(
            f"its voxels are {shown} mm large, outside {low:g} to {high:g} mm; "
            "are its lengths in another unit? correct its header"
        )
    voxels = image.as_tensor()
    # Extremes of what holds a NaN are NaN, and finding them needs no further memory.
    smallest, largest = voxels.amin(), voxels.amax()
    if not (smallest.isfinite() and largest.isfinite()):
        wrong = sum(int((~torch.isfinite(slab)).sum()) for slab in voxels.unbind(3))
        raise UnusableVolumeError(
            f"{wrong} of {voxels.numel()} voxels are NaN or infinite; repair or remove it"
        )
    if smallest == largest:
        raise UnusableVolumeError("all voxels have one value; remove it")
