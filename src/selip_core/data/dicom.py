"""A folder with one DICOM series, read as one volume."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from selip_core._optional import require
from selip_core.data.dicom_files import (
    DicomFolder,
    counted,
    group_series,
    images_below,
    list_dicom,
)
from selip_core.data.dicom_geometry import DCM2NIIX, grid_of
from selip_core.data.dicom_header import DicomImage
from selip_core.data.dicom_pixels import read_slices, require_grey, require_none_damaged
from selip_core.data.quiet import quiet_readers
from selip_core.data.unusable import UnusableVolumeError, limit_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monai.data import MetaTensor


def read_dicom(folder: Path, limit: int | None = None) -> "MetaTensor":
    """Return the image (1, i, j, k), float32, rescaled once per slice, with its affine in RAS mm.

    ``i`` is the column of a slice, ``j`` its row; ``k`` follows the positions along the normal.

    Args:
        folder: Its regular files are the series, whatever their names; see
            :func:`~selip_core.data.dicom_files.list_dicom`.
        limit: Bytes of voxels at most; by default
            :func:`~selip_core.data.unusable.limit_bytes`.

    Raises:
        UnusableVolumeError: If the folder does not hold exactly one series of whole, parallel,
            evenly spaced slices of one grey volume in one unit.
        ImportError: Without pydicom (extra ``dicom``).
    """
    require("pydicom", "dicom")
    limit = limit_bytes() if limit is None else limit
    with quiet_readers():
        images = _only_series(folder, limit)
        return read_series(images, limit)


def read_series(images: "Sequence[DicomImage]", limit: int) -> "MetaTensor":
    """Return the volume of one series, as :func:`read_dicom` does.

    Raises:
        UnusableVolumeError: If the images are not the slices of one volume.
    """
    from monai.data import MetaTensor

    require_grey(images)
    grid = grid_of(images)
    slices = read_slices([images[index] for index in grid.order], limit)
    voxels = torch.from_numpy(np.ascontiguousarray(slices.transpose(2, 1, 0)))
    return MetaTensor(voxels[None], affine=torch.from_numpy(grid.affine))


def _only_series(folder: Path, limit: int) -> "Sequence[DicomImage]":
    found = list_dicom(folder, limit)
    total = len(found.images) + found.damaged.total()
    require_none_damaged(found.damaged, total)
    if not found.images:
        raise UnusableVolumeError(_why_none(folder, found, limit))
    series = group_series(found.images)
    if len(series) > 1:
        counts = " and ".join(str(len(images)) for images in series.values())
        raise UnusableVolumeError(
            f"expected one series, got {len(series)} (SeriesInstanceUID) of {counts} images; put "
            f"each into a separate folder, or convert them to one NIfTI file each: {DCM2NIIX}"
        )
    (uid,) = series
    elsewhere = sum(bool(uid) and image.series == uid for image in images_below(folder, limit))
    if elsewhere:
        raise UnusableVolumeError(
            f"{elsewhere} more images of this series lie in subfolders; put all of them into one "
            "folder, or copies elsewhere"
        )
    return found.images


def _why_none(folder: Path, found: DicomFolder, limit: int) -> str:
    """Return why a folder has no images, and what to do."""
    if found.objects:
        return (
            f"expected images, found only objects without pixels ({counted(found.objects)}); name "
            "the folder of the images"
        )
    kinds = Counter(_kind(path.name, head) for path, head in found.others.items())
    for kind, remedy in _REMEDIES.items():
        if kinds[kind]:
            return f"expected DICOM files, found {kinds[kind]} {kind}; {remedy}"
    if any(True for _ in images_below(folder, limit)):
        return "the DICOM files lie in its subfolders; name the subfolder that holds the series"
    if not found.others:
        return "expected a folder with DICOM files, found it empty; copy the series again"
    return f"expected a folder with DICOM files, found none among {len(found.others)} files"


_REMEDIES = {
    "NIfTI files": "name the file in place of its folder",
    "compressed files or archives": "unpack them",
}


def _kind(name: str, head: bytes) -> str:
    if name.lower().endswith((".nii", ".nii.gz")):
        return "NIfTI files"
    if head[:2] in (b"\x1f\x8b", b"PK", b"BZ", b"7z") or head[:6] == b"\xfd7zXZ\x00":
        return "compressed files or archives"
    return "other"
