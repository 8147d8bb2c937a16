"""The affine of a NIfTI file, from its header by one rule, without guesses."""

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from selip_core.data.unusable import UnusableVolumeError

Geometry = Literal["auto", "sform", "qform"]
"""Which form of a NIfTI header gives the geometry; ``"auto"`` is the rule of :func:`affine_of`."""

_CODES = range(6)
"""Codes of the standard: unknown, scanner, aligned, Talairach, MNI, template."""

_UNITS = {1: "metre", 3: "micrometre"}
_SOURCE = "convert it again from its source with the orientation kept"


def require_geometry(geometry: str) -> None:
    """Raise unless the name is a :data:`Geometry`.

    Raises:
        ValueError: If it is not.
    """
    if geometry not in get_args(Geometry):
        raise ValueError(f"geometry must be one of {get_args(Geometry)}, got {geometry!r}")


def affine_of(header: Any, geometry: Geometry = "auto") -> NDArray[np.float64]:
    """Return the affine (4, 4) from voxel indices to RAS in mm.

    ``"auto"``: the sform if its code is set, else the qform if its code is set, as NIfTI-1 and
    nibabel have it. If both are set, they must place no corner of the volume further apart than
    half of its smallest voxel size; less is rounding. The other two take that form alone.

    Args:
        header: A header of nibabel's, as read: its repairs would hide what is refused here.
        geometry: Which form to take.

    Raises:
        UnusableVolumeError: If no form is set, the forms disagree, or the one that counts is no
            geometry: not finite, singular, voxel sizes that are not positive, no unit quaternion,
            or another unit than mm.
    """
    _require_millimetres(header)
    if geometry != "auto":
        if not _is_set(header, geometry):
            raise UnusableVolumeError(
                f'geometry = "{geometry}" was chosen, but {geometry}_code is 0; '
                f"leave the choice out, or {_SOURCE}"
            )
        return _form(header, geometry)
    forms = [name for name in ("sform", "qform") if _is_set(header, name)]
    if not forms:
        raise UnusableVolumeError(
            f"neither qform nor sform is set, so left and right are unknown; {_SOURCE}"
        )
    if len(forms) == 1:
        return _form(header, forms[0])
    return _agreed(header)


def _require_millimetres(header: Any) -> None:
    code = int(header["xyzt_units"]) & 0x07
    if code not in (0, 2):
        unit = _UNITS.get(code, f"of code {code}")
        raise UnusableVolumeError(
            f"expected lengths in mm, got the unit {unit}; rewrite its header in mm"
        )


def _is_set(header: Any, form: str) -> bool:
    code = int(header[f"{form}_code"])
    if code not in _CODES:
        raise UnusableVolumeError(
            f"{form}_code must be 0 to 5, got {code}: the header is damaged; {_SOURCE}"
        )
    return code > 0


def _form(header: Any, form: str) -> NDArray[np.float64]:
    affine = _sform(header) if form == "sform" else _qform(header)
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and np.isfinite(sizes).all()):
        raise UnusableVolumeError(f"its {form} is not finite; {_SOURCE}")
    if not sizes.all() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-6:
        raise UnusableVolumeError(
            f"its affine is singular: the {form} maps different voxels to one place; {_SOURCE}"
        )
    return affine


def _sform(header: Any) -> NDArray[np.float64]:
    return np.asarray(header.get_sform(), dtype=np.float64)


def _qform(header: Any) -> NDArray[np.float64]:
    sizes, sign = np.asarray(header["pixdim"][1:4]), float(header["pixdim"][0])
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise UnusableVolumeError(
            f"pixdim must give three positive voxel sizes for the qform; {_SOURCE}"
        )
    if sign not in (-1, 0, 1):
        raise UnusableVolumeError(
            f"pixdim[0] must be 1 or -1 for the qform, got {sign:g}, so the direction of its third "
            f"axis is unknown; {_SOURCE}"
        )
    header = header.copy()
    header["pixdim"][0] = sign or 1  # NIfTI-1: 0 is taken as 1
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except ValueError:  # of the quaternion's length
        raise UnusableVolumeError(f"its quaternion is longer than 1; {_SOURCE}") from None


def _agreed(header: Any) -> NDArray[np.float64]:
    """Return the sform where the qform agrees with it."""
    forms, causes = {}, {}
    for name in ("sform", "qform"):
        try:
            forms[name] = _form(header, name)
        except UnusableVolumeError as error:
            causes[name] = str(error)
    if len(causes) == 1:
        ((wrong, cause),) = causes.items()
        other = "qform" if wrong == "sform" else "sform"
        raise UnusableVolumeError(
            f'{cause}, or choose its other form with geometry = "{other}" if that is right'
        )
    if causes:
        raise UnusableVolumeError(causes["sform"])
    sform, qform = forms["sform"], _unrounded(header, forms["sform"], forms["qform"])
    smallest = float(np.linalg.norm(sform[:3, :3], axis=0).min())
    apart = _largest_distance(header.get_data_shape()[:3], sform, qform)
    if apart > smallest / 2:
        raise UnusableVolumeError(
            "qform and sform disagree, so left and right are in doubt: they place a corner of the "
            f"volume {apart:.3g} mm apart, more than half a voxel ({smallest / 2:.3g} mm); correct "
            'the wrong one, or choose the right one with geometry = "sform" or "qform"'
        )
    return sform


def _largest_distance(
    shape: Sequence[int], one: NDArray[np.float64], other: NDArray[np.float64]
) -> float:
    """Return how far apart two affines place a corner of the volume, in mm."""
    corners = np.array([[*corner, 1.0] for corner in product(*[(-0.5, n - 0.5) for n in shape])])
    return float(np.linalg.norm(corners @ (one - other)[:3].T, axis=1).max())


def _unrounded(
    header: Any, sform: NDArray[np.float64], qform: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the qform with the sform's rotation, if its quaternion may be that rotation rounded.

    The scalar part of a quaternion is not stored: near half a turn, as from RAS to LPS, the
    rounding of the others moves it by the root of a float32's precision, which moves a corner of
    a head by half a millimetre.
    """
    expected = header.copy()
    expected.set_qform(sform, 1)
    names = ("quatern_b", "quatern_c", "quatern_d")
    stored, wanted = (np.array([each[name] for name in names]) for each in (header, expected))
    error = min(np.abs(stored - wanted).max(), np.abs(stored + wanted).max())
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    if mirrored or error > 4 * np.finfo(header["quatern_b"].dtype).eps:
        return qform
    left, _, right = np.linalg.svd(sform[:3, :3] / np.linalg.norm(sform[:3, :3], axis=0))
    turned = qform.copy()
    turned[:3, :3] = left @ right * np.linalg.norm(qform[:3, :3], axis=0)
    return turned
