"""Volumes on disk, read through MONAI and refused where they are not what they should be."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from selip_core.data._unusable import UnusableVolumeError
from selip_core.data.dicom import read_dicom
from selip_core.data.nifti import read_nifti
from selip_core.errors import DataError, Problem

if TYPE_CHECKING:
    from monai.data import MetaTensor

_logger = logging.getLogger(__name__)


def read_volume(path: str | os.PathLike[str], where: str) -> "MetaTensor":
    """Return a volume as MONAI's MetaTensor (1, i, j, k), float32, with its affine in RAS mm.

    The axes stand as in the file; only the affine says which is which. Intensities carry the
    scaling that the file declares, applied once.

    Args:
        path: A NIfTI file, or a folder with one DICOM series (extra ``dicom``).
        where: The place that errors name instead of the path, such as
            ``"manifest.jsonl:12 $.volume"``.

    Raises:
        DataError: If the file is missing, truncated, of another format, not one 3D volume, open in
            its orientation, not finite, or constant.

    Example:
        >>> read_volume("missing.nii.gz", "manifest.jsonl:12 $.volume")
        Traceback (most recent call last):
        ...
        selip_core.errors.DataError: a volume cannot be used (1 problem)
          manifest.jsonl:12 $.volume: there is no such file or folder
    """
    try:
        image = open_volume(Path(path))
        _require_sound(image)
    except UnusableVolumeError as error:
        raise DataError("a volume cannot be used", [Problem(where, str(error))]) from None
    return image


def open_volume(path: Path) -> "MetaTensor":
    """Return a volume without looking at its voxels: a mask, say, may be constant.

    Raises:
        UnusableVolumeError: If it cannot be read.
    """
    try:
        if not path.exists():
            raise UnusableVolumeError("there is no such file or folder")
        return read_dicom(path) if path.is_dir() else read_nifti(path)
    except (UnusableVolumeError, ImportError, MemoryError):
        raise
    except Exception as error:  # readers raise whatever their formats raise, and name the path
        _logger.debug("a volume cannot be read", exc_info=True)
        raise UnusableVolumeError(
            f"cannot be read ({type(error).__name__}): truncated, damaged, or neither NIfTI nor a "
            "DICOM folder; copy or convert it again"
        ) from None


def _require_sound(image: "MetaTensor") -> None:
    affine = image.affine[:3, :3]
    if not torch.isfinite(image.affine).all() or torch.linalg.det(affine).abs() < 1e-9:
        raise UnusableVolumeError("its affine is singular or not finite; correct its header")
    finite = torch.isfinite(image.as_tensor())
    if not finite.all():
        raise UnusableVolumeError(
            f"{int((~finite).sum())} of {finite.numel()} voxels are NaN or infinite; "
            "repair or remove it"
        )
    if image.as_tensor().amin() == image.as_tensor().amax():
        raise UnusableVolumeError("all voxels have one value; remove it")
