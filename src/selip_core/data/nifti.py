"""NIfTI files, read only where they say without doubt which side is left."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from selip_core.data._unusable import UnusableVolumeError

if TYPE_CHECKING:
    from monai.data import MetaTensor


def read_nifti(path: Path) -> "MetaTensor":
    """Return the image (1, i, j, k), float32, scaled once by its header, with its affine in RAS mm.

    Raises:
        UnusableVolumeError: If it is not NIfTI, not a single 3D volume, or its orientation is open.
    """
    import nibabel
    from monai.data import MetaTensor, NibabelReader

    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise UnusableVolumeError(
            f"expected NIfTI, got {type(image).__name__}; convert it to .nii.gz"
        )
    _require_three_dimensions(image.shape)
    _require_orientation(image.header)
    reader = NibabelReader()
    voxels, meta = reader.get_data(reader.read(path))
    voxels = np.asarray(voxels, dtype=np.float32).reshape(1, *image.shape[:3])
    return MetaTensor(torch.from_numpy(voxels), affine=torch.as_tensor(meta["affine"]))


def _require_three_dimensions(shape: tuple[int, ...]) -> None:
    if len(shape) < 3 or any(length != 1 for length in shape[3:]):
        raise UnusableVolumeError(
            f"expected one 3D volume, got {len(shape)}D of shape {shape}; "
            "write each 3D volume to a file of its own"
        )


def _require_orientation(header: Any) -> None:
    """Refuse headers from which a reader could only guess left and right."""
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise UnusableVolumeError(
            f"expected lengths in mm, got the unit {unit!r}; rewrite it in mm"
        )
    codes = int(header["qform_code"]), int(header["sform_code"])
    if codes == (0, 0):
        raise UnusableVolumeError(
            "neither qform nor sform is set, so left and right are unknown; "
            "convert it again from its source with the orientation kept"
        )
    if 0 not in codes and _axes(header.get_qform()) != _axes(header.get_sform()):
        raise UnusableVolumeError(
            "qform and sform give different orientations, so left and right are in doubt; "
            "correct the wrong one"
        )


def _axes(affine: NDArray[np.float64]) -> tuple[str, ...]:
    from nibabel import aff2axcodes

    return tuple(aff2axcodes(affine))
