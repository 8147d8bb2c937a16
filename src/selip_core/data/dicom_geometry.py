"""The grid of a DICOM series: slices in the order of their positions, and their affine."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray

from selip_core.data.dicom_header import INVALID, DicomImage
from selip_core.data.unusable import UnusableVolumeError

DCM2NIIX = "dcm2niix -z y -f %s -o OUT FOLDER"
"""Converts whatever a scanner writes, one NIfTI file per series."""

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])

_SAME_POSITION = 0.01
"""Millimetres along the normal; images that lie closer are at one position."""

_GAP_TOLERANCE = 0.05
"""Share of the median gap by which a gap may differ from it."""

_PARALLEL = 1e-3
"""Direction cosines of parallel slices differ by less; cosines are rounded to six digits."""

_ORTHONORMAL = 5e-3
"""Deviation of the direction cosines from unit length and right angle, by rounding."""

_VARIED = (
    *("EchoTime", "EchoNumbers", "InversionTime", "FlipAngle", "DiffusionBValue"),
    *("DiffusionGradientOrientation", "TemporalPositionIdentifier", "TriggerTime"),
    *("ImageType", "AcquisitionNumber", "AcquisitionTime"),
)
"""Elements in which several volumes of one series differ."""


class Grid(NamedTuple):
    """Where the slices of a volume lie.

    Attributes:
        order: Indices of the images by their position along the normal.
        affine: From (column, row, slice) to RAS in mm.
    """

    order: Int[np.ndarray, " slices"]
    affine: Float64[np.ndarray, "4 4"]


def grid_of(images: Sequence[DicomImage]) -> Grid:
    r"""Return the order of the slices and their affine.

    With the direction cosines ``r`` (along a row) and ``c`` (along a column), the spacing between
    columns ``s_c`` and rows ``s_r``, and the positions ``p_k`` sorted by ``p_k . (r x c)``, the
    voxel ``(i, j, k)`` lies at ``p_0 + i s_c r + j s_r c + k (p_{n-1} - p_0) / (n - 1)`` in the
    coordinates of DICOM (left, posterior, superior), in mm: PS3.3 C.7.6.2.1.1. InstanceNumber, of
    which the standard promises no spatial order, is not used. A single slice has no step: its
    spacing or thickness along the normal is taken.

    Raises:
        UnusableVolumeError: If positions, directions or spacings are missing or no numbers, or the
            slices are not parallel, evenly spaced along their normal, and each at its own position.
    """
    directions = _directions(images)
    spacing = np.median(_spacings(images), axis=0)
    positions = numbers(images, "ImagePositionPatient", 3)
    normal = np.cross(directions[0], directions[1])
    normal /= np.linalg.norm(normal)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    if len(images) == 1:
        step = normal * _thickness(images[0])
    else:
        _require_one_image_per_position(images, along, order)
        _require_even_gaps(np.diff(along[order]))
        step = (positions[order[-1]] - positions[order[0]]) / (len(images) - 1)
        _require_straight(positions[order], step, normal, float(spacing.min()))
    columns = [directions[0] * spacing[1], directions[1] * spacing[0], step]
    affine = np.eye(4)
    affine[:3, :3] = np.stack(columns, axis=1)
    affine[:3, 3] = positions[order[0]]
    affine[:3] *= _LPS_TO_RAS[:, None]
    return Grid(order, affine)


def numbers(images: Sequence[DicomImage], keyword: str, count: int) -> NDArray[np.float64]:
    """Return an element of all images as numbers (images, count).

    Raises:
        UnusableVolumeError: If it is missing, empty, not numbers, not finite, or not as many.
    """
    values = [image.values.get(keyword) for image in images]
    missing = sum(value is None or value == "" for value in values)
    if missing:
        raise UnusableVolumeError(
            f"{_of(missing, images)} no {keyword}, without which they cannot be placed or scaled; "
            f"export the series again, or convert it to NIfTI: {DCM2NIIX}"
        )
    found = [_as_numbers(value, count) for value in values]
    kept = [numbers for numbers in found if numbers is not None]
    if len(kept) < len(images):
        needed = "a finite number" if count == 1 else f"{count} finite numbers"
        raise UnusableVolumeError(
            f"{_of(len(images) - len(kept), images)} a wrong {keyword}, where {needed} "
            f"{'is' if count == 1 else 'are'} needed; export the series again"
        )
    return np.stack(kept)


def _as_numbers(value: object, count: int) -> NDArray[np.float64] | None:
    try:
        array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        return None
    return array if array.shape == (count,) and np.isfinite(array).all() else None


def _of(count: int, images: Sequence[DicomImage]) -> str:
    if len(images) == 1:
        return "the image has"
    return f"{count} of {len(images)} images {'has' if count == 1 else 'have'}"


def _directions(images: Sequence[DicomImage]) -> NDArray[np.float64]:
    """Return the direction cosines of rows and of columns, (2, 3), each of unit length."""
    found = numbers(images, "ImageOrientationPatient", 6)
    products = np.einsum("nad,nbd->nab", *[found.reshape(-1, 2, 3)] * 2)
    wrong = int((np.abs(products - np.eye(2)).max(axis=(1, 2)) > 2 * _ORTHONORMAL).sum())
    if wrong:
        raise UnusableVolumeError(
            f"{_of(wrong, images)} a wrong ImageOrientationPatient, where two perpendicular unit "
            "vectors are needed; export the series again"
        )
    orientations: list[NDArray[np.float64]] = []
    for orientation in found:
        if not any(np.abs(orientation - other).max() < _PARALLEL for other in orientations):
            orientations.append(orientation)
    if len(orientations) > 1:
        raise UnusableVolumeError(
            f"the {len(images)} slices have {len(orientations)} orientations "
            "(ImageOrientationPatient), as of a localizer or a radial scan; leave the series out, "
            "or put the images of each orientation into a separate folder"
        )
    directions = np.median(found, axis=0).reshape(2, 3)
    unit: NDArray[np.float64] = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return unit


def _spacings(images: Sequence[DicomImage]) -> NDArray[np.float64]:
    """Return the distance between rows and between columns of each image, in mm."""
    found = numbers(images, "PixelSpacing", 2)
    wrong = int((found <= 0).any(axis=1).sum())
    if wrong:
        raise UnusableVolumeError(
            f"{_of(wrong, images)} a wrong PixelSpacing, where positive lengths in mm are needed; "
            "export the series again"
        )
    if not np.allclose(found, found[0], rtol=1e-3, atol=0):
        raise UnusableVolumeError(differ("PixelSpacing"))
    return found


def differ(keyword: str) -> str:
    """Return the message about slices of one series that cannot form one volume."""
    return (
        f"slices differ in {keyword}, so they are not one volume; put those of each volume into a "
        "separate folder"
    )


def _require_one_image_per_position(
    images: Sequence[DicomImage], along: NDArray[np.float64], order: NDArray[np.intp]
) -> None:
    groups = np.split(order, np.flatnonzero(np.diff(along[order]) >= _SAME_POSITION) + 1)
    sizes = {len(group) for group in groups}
    if sizes == {1}:
        return
    varied = [keyword for keyword in _VARIED if any(_vary(images, keyword, g) for g in groups)]
    differences = f"; they differ in {', '.join(varied)}" if varied else ""
    if len(sizes) == 1:
        raise UnusableVolumeError(
            f"several volumes in one series: {sizes.pop()} images at each of {len(groups)} "
            "positions (such as b-values, echoes, time points, or copies of the files)"
            f"{differences}; separate them"
        )
    repeated = sum(len(group) > 1 for group in groups)
    raise UnusableVolumeError(
        f"{repeated} of {len(groups)} positions hold more than one image (copies of files, or "
        f"volumes of which one is incomplete){differences}; remove the copies or separate them"
    )


def _vary(images: Sequence[DicomImage], keyword: str, group: NDArray[np.intp]) -> bool:
    return len({str(images[index].values.get(keyword)) for index in group}) > 1


def _require_even_gaps(gaps: NDArray[np.float64]) -> None:
    ratios = gaps / np.median(gaps)
    uneven = np.abs(ratios - 1) > _GAP_TOLERANCE
    if not uneven.any():
        return
    whole = np.round(ratios)
    if (np.abs(ratios - whole) <= _GAP_TOLERANCE).all() and whole.min() >= 1:
        lost = int((whole - 1).sum())
        cause = f"{lost} {'is' if lost == 1 else 'are'} missing between them; complete the series"
    else:
        cause = (
            f"{int(uneven.sum())} of {len(gaps)} gaps differ from the usual one by more than "
            f"{_GAP_TOLERANCE:.0%}; complete the series, or separate what it mixes"
        )
    raise UnusableVolumeError(f"slices are not evenly spaced: {cause}")


def _require_straight(
    positions: NDArray[np.float64],
    step: NDArray[np.float64],
    normal: NDArray[np.float64],
    pixel: float,
) -> None:
    """Refuse a shift of half a voxel or more: smaller ones are rounding, and positions count."""
    indices = np.arange(len(positions))[:, None]
    off = positions - (positions[0] + indices * step)
    across = off - np.outer(off @ normal, normal)
    if (np.abs(off @ normal) > 0.5 * abs(step @ normal)).any() or (
        np.linalg.norm(across, axis=1) > 0.5 * pixel
    ).any():
        raise UnusableVolumeError(
            "slices are not evenly spaced: some lie half a voxel or more off the line from the "
            "first to the last; separate what the series mixes"
        )
    shear = np.linalg.norm(step - (step @ normal) * normal)
    if shear * (len(positions) - 1) > 0.5 * pixel:
        degrees = np.degrees(np.arctan2(shear, abs(step @ normal)))
        raise UnusableVolumeError(
            f"the stack is sheared: slices follow each other {degrees:.1f} degrees off their "
            f"normal, as with a tilted gantry; dcm2niix corrects that: {DCM2NIIX}"
        )


def _thickness(image: DicomImage) -> float:
    """Return the extent of a single slice along its normal, in mm."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = image.values.get(keyword)
        if value is INVALID or value in (None, ""):
            continue
        length = float(numbers([image], keyword, 1)[0, 0])
        if length > 0:
            return length
    raise UnusableVolumeError(
        "a single slice without a positive SliceThickness, so its size is unknown; leave it out"
    )
