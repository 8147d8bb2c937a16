"""A folder with one DICOM series, checked before MONAI stacks its slices."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from selip_core._optional import require
from selip_core.data._unusable import UnusableVolumeError

if TYPE_CHECKING:
    from monai.data import MetaTensor

_GEOMETRY = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "InstanceNumber")
_EQUAL = ("SeriesInstanceUID", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")


def read_dicom(folder: Path) -> "MetaTensor":
    """Return the image (1, i, j, k), float32, rescaled once per slice, with its affine in RAS mm.

    MONAI sorts slices by instance number and takes their distance from the first and the last one.
    That is right only for one series of evenly spaced slices, which is checked here. Of a single
    slice it does not know the direction across: that comes from its orientation and thickness.

    Raises:
        UnusableVolumeError: If the folder does not hold exactly one series of whole, parallel,
            evenly spaced slices in one channel.
        ImportError: Without pydicom (extra ``dicom``).
    """
    require("pydicom", "dicom")
    from monai.data import MetaTensor, PydicomReader

    headers = _read_headers(folder)
    _require_geometry(headers)
    _require_one_series(headers)
    _require_even_spacing(headers)
    reader = PydicomReader(fname_regex=None)  # type: ignore[arg-type]  # None: by content
    voxels, meta = reader.get_data(reader.read(folder))
    voxels = np.asarray(voxels, dtype=np.float32)
    affine = np.asarray(meta["affine"], dtype=np.float64)
    if len(headers) == 1:
        voxels = voxels[..., None]
        affine[:3, 2] = _across(headers[0])
    return MetaTensor(torch.from_numpy(voxels[None]), affine=torch.from_numpy(affine))


def _read_headers(folder: Path) -> list[Any]:
    import pydicom
    from pydicom.misc import is_dicom

    headers = [
        pydicom.dcmread(path, stop_before_pixels=True)
        for path in sorted(folder.iterdir())
        if path.is_file() and is_dicom(path)
    ]
    if re.search(r"[\[*?]", str(folder)):
        raise UnusableVolumeError("folder names must not hold '[', '*' or '?'; rename it")
    if not headers:
        raise UnusableVolumeError("expected a folder with DICOM files, found none in it")
    return headers


def _require_geometry(headers: Sequence[Any]) -> None:
    for keyword in _GEOMETRY:
        if any(header.get(keyword) in (None, "") for header in headers):
            raise UnusableVolumeError(
                f"a slice has no {keyword}, so its place is unknown (multi-frame files store it "
                "elsewhere); convert the series to NIfTI, with dcm2niix for one"
            )
    if any(header.get("SamplesPerPixel", 1) != 1 for header in headers):
        raise UnusableVolumeError("expected one grey channel, got a colour image; leave it out")


def _require_one_series(headers: Sequence[Any]) -> None:
    for keyword in _EQUAL:
        if any(not _alike(header.get(keyword), headers[0].get(keyword)) for header in headers):
            raise UnusableVolumeError(
                f"slices differ in {keyword}; put each series into a folder of its own"
            )


def _alike(first: Any, second: Any) -> bool:
    if isinstance(first, str) or first is None or second is None:
        return bool(first == second)
    return bool(np.allclose(np.asarray(first, float), np.asarray(second, float), atol=1e-3))


def _require_even_spacing(headers: Sequence[Any], tolerance: float = 0.05) -> None:
    """Refuse gaps that differ from the median gap by more than this share of it."""
    ordered = sorted(headers, key=lambda header: int(header.InstanceNumber))
    places = [
        float(np.dot(_normal(header), np.asarray(header.ImagePositionPatient, dtype=float)))
        for header in ordered
    ]
    gaps = np.diff(places)
    if not len(gaps):
        return
    middle = float(np.median(gaps))
    if middle == 0.0 or np.any(np.abs(gaps - middle) > tolerance * abs(middle)):
        raise UnusableVolumeError(
            "slices in the order of their instance numbers are not evenly spaced: one is missing "
            "or stands twice, or two series are mixed; complete or separate them"
        )


def _normal(header: Any) -> NDArray[np.float64]:
    """Return the unit normal of a slice in DICOM's patient coordinates (LPS)."""
    orientation = np.asarray(header.ImageOrientationPatient, dtype=float)
    normal: NDArray[np.float64] = np.cross(orientation[:3], orientation[3:])
    return normal


def _across(header: Any) -> NDArray[np.float64]:
    """Return the step from a single slice to where the next would be: RAS, mm."""
    thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    if not thickness:
        raise UnusableVolumeError("a single slice without SliceThickness; its size is unknown")
    to_ras = np.array([-1.0, -1.0, 1.0])
    return np.asarray(_normal(header) * to_ras * float(thickness), dtype=np.float64)
