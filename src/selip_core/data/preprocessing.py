"""From a volume on disk to the tensor that encoders see."""

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.data.memory import VOLUME_MEMORY, preparing_memory
from selip_core.data.nifti_geometry import Geometry, require_geometry
from selip_core.data.unusable import UnusableVolumeError, describe_failure, limit_bytes
from selip_core.data.volumes import read_volume
from selip_core.errors import DataError, Problem

if TYPE_CHECKING:
    from monai.data import MetaTensor

_SLAB = 1 << 24
"""Voxels that are smoothed at a time; heads at 1 mm are smaller."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preprocessing:
    """Callable: path of a volume to a float32 tensor (1, depth, height, width).

    Depth runs inferior to superior, height posterior to anterior, width left to right, whatever
    the axes in the file: the affine decides. In this order:

    1. Orientation to RAS.
    2. Linear interpolation to ``spacing``. An axis that becomes coarser by a factor f is first
       smoothed by a Gaussian of (f - 1) / 2 voxels, or fine structure would alias into noise.
    3. Central crop to ``size``.
    4. Clipping at ``percentiles`` of the voxels that are left.
    5. Zero mean and unit variance over the foreground, the voxels above the mean. MR intensities
       have no unit, and a mean over the air around the head would depend on the field of view.
    6. Padding to ``size`` with the smallest value, which is background.

    Deterministic: equal files give equal tensors.

    Attributes:
        spacing: Voxel size in mm, in the order depth, height, width.
        size: Voxels, in the same order.
        percentiles: Lower and upper clipping point, in [0, 100]. Whatever is brighter than all
            normal tissue and smaller than the upper tail is clipped to normal brightness: of a
            field of 8 litres, lesions below 40 ml at 99.5, below 0.8 ml at 99.99.
        geometry: Which form of a NIfTI header gives the affine: ``"auto"``, ``"sform"`` or
            ``"qform"``, as :func:`~selip_core.data.read_volume` has it.
        max_volume_gib: Largest size in GiB of a volume, unpacked and resampled; None takes the
            environment variable ``SELIP_MAX_VOLUME_GIB``, or 2.

    Raises:
        ValueError: If a parameter is out of range.

    Example:
        >>> Preprocessing(spacing=(4.0, 4.0, 4.0), size=(48, 56, 48)).size
        (48, 56, 48)
    """

    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0)
    size: tuple[int, int, int] = (48, 56, 48)
    percentiles: tuple[float, float] = (0.5, 99.99)
    geometry: Geometry = "auto"
    max_volume_gib: float | None = None

    def __post_init__(self) -> None:
        for name in ("spacing", "size", "percentiles"):  # a configuration file holds lists
            object.__setattr__(self, name, _as_tuple(name, getattr(self, name)))
        _require_positive("spacing", self.spacing, "lengths in mm")
        _require_positive("size", self.size, "whole numbers of voxels")
        if any(not isinstance(length, int) for length in self.size):
            raise ValueError(f"size must be whole numbers of voxels, got {self.size}")
        lower, upper = self.percentiles
        if not 0 <= lower < upper <= 100:
            raise ValueError(f"percentiles must rise within [0, 100], got {self.percentiles}")
        require_geometry(self.geometry)
        limit_bytes(self.max_volume_gib)

    def __call__(
        self, path: str | os.PathLike[str], where: str | None = None
    ) -> Float[Tensor, "1 depth height width"]:
        """Return the preprocessed volume.

        Args:
            path: A NIfTI file or a DICOM folder.
            where: The place that errors name, such as ``"manifest.jsonl:12 $.volume"``; the path
                itself by default.

        Raises:
            DataError: If the volume cannot be used.
        """
        where = os.fspath(path) if where is None else where
        with VOLUME_MEMORY.place(preparing_memory):
            image = read_volume(path, where, self.geometry, self.max_volume_gib)
            return self.prepare(image, where)

    def prepare(self, image: "MetaTensor", where: str) -> Float[Tensor, "1 depth height width"]:
        """Return a volume that was read, preprocessed.

        Args:
            image: As :func:`~selip_core.data.read_volume` returns it.
            where: The place that errors name.

        Raises:
            DataError: If the volume cannot be used.
        """
        from monai.transforms import CenterSpatialCrop, SpatialPad

        try:
            self.require_fit(image)
            size = self.size[::-1]
            cropped = _scale(CenterSpatialCrop(size)(self._resample(image)), self.percentiles)
            padded = SpatialPad(size, value=float(cropped.min()))(cropped)
            return padded.as_subclass(Tensor).permute(0, 3, 2, 1).contiguous()
        except ImportError:
            raise
        except UnusableVolumeError as error:
            message = str(error)
        except Exception as error:  # one volume must not end the work on all others
            _logger.debug("a volume cannot be prepared", exc_info=True)
            message = describe_failure(error, was_read=True)
        raise DataError("a volume cannot be used", [Problem(where, message)])

    def require_fit(self, image: "MetaTensor") -> None:
        """Refuse a volume that resampling would make too large for memory, or a single voxel.

        Raises:
            UnusableVolumeError: If its extent in millimetres leads there.
        """
        from nibabel import io_orientation

        affine = np.asarray(image.affine, dtype=np.float64)
        order = np.argsort(io_orientation(affine)[:, 0])
        extents = (np.linalg.norm(affine[:3, :3], axis=0) * (np.array(image.shape[1:]) - 1))[order]
        lengths = np.round(extents / self.spacing[::-1]) + 1
        shown = " x ".join(f"{extent:.3g}" for extent in extents)
        got = f"its voxels span {shown} mm (right, anterior, superior)"
        if lengths.prod() * 4 > limit_bytes(self.max_volume_gib):
            raise UnusableVolumeError(
                f"{got}, {lengths.prod() * 4 / 2**30:,.1f} GiB at the spacing of training; "
                "if its header is right, choose a coarser spacing or raise max_volume_gib"
            )
        if lengths.max() < 2:
            raise UnusableVolumeError(
                f"{got}, one voxel at the spacing of training; "
                "if its header is right, choose a finer spacing"
            )

    def _resample(self, image: "MetaTensor") -> Tensor:
        """Return the image (1, right, anterior, superior) at our spacing."""
        from monai.data import MetaTensor
        from monai.transforms import Orientation, Spacing

        target = self.spacing[::-1]
        image = cast(MetaTensor, Orientation(axcodes="RAS", labels=None)(image))
        factors = [wanted / float(got) for wanted, got in zip(target, image.pixdim, strict=True)]
        image = MetaTensor(_smooth(image.as_tensor(), factors), affine=image.affine)
        resample = Spacing(target, mode="bilinear", padding_mode="border", dtype=np.float32)
        return cast(MetaTensor, resample(image)).as_tensor()


def _as_tuple(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, int | float):
        needed = "two numbers, lower and upper"
        if name != "percentiles":
            needed = "three numbers in the order depth, height, width"
        raise ValueError(f"{name} must be {needed}, got {values}")
    return tuple(values)


def _require_positive(name: str, values: tuple[float, ...], unit: str) -> None:
    if len(values) != 3 or not all(0 < value < float("inf") for value in values):
        raise ValueError(f"{name} must be three positive {unit}, got {values}")


def _smooth(image: Tensor, factors: list[float]) -> Tensor:
    """Return the image (1, i, j, k), smoothed along each axis that becomes coarser."""
    from monai.networks.layers import gaussian_1d

    kernels = [
        gaussian_1d(torch.tensor((factor - 1) / 2)) if factor > 1.001 else torch.ones(1)
        for factor in factors
    ]
    if all(len(kernel) == 1 for kernel in kernels):
        return image
    if image.numel() <= _SLAB:
        return _filter(image, kernels)
    for axis, kernel in enumerate(kernels):
        if len(kernel) > 1:
            image = _filter_in_slabs(image, axis, kernel)
    return image


def _filter_in_slabs(image: Tensor, axis: int, kernel: Tensor) -> Tensor:
    """Return the image filtered along an axis; PyTorch needs 20 times the memory of what it gets.

    Slabs lie along the filtered axis. They change the last bit of some voxels.
    """
    kernels = [torch.ones(1)] * 3
    kernels[axis] = kernel
    across = 1 if axis == 2 else 3
    count = -(-image.numel() // _SLAB)
    slabs = [_filter(slab, kernels) for slab in image.tensor_split(count, dim=across)]
    return torch.cat(slabs, dim=across)


def _filter(image: Tensor, kernels: list[Tensor]) -> Tensor:
    from monai.networks.layers import separable_filtering

    # The border is repeated: zeros would darken the head where the field of view cuts it.
    return separable_filtering(image[None], kernels, mode="replicate")[0]


def _scale(image: Tensor, percentiles: tuple[float, float]) -> Tensor:
    from monai.transforms import ClipIntensityPercentiles

    image = cast(Tensor, ClipIntensityPercentiles(*percentiles)(image)).as_subclass(Tensor)
    foreground = image[image > image.mean()]
    if len(foreground) == 0 or foreground.amin() == foreground.amax():
        raise UnusableVolumeError(
            "has at most two values left within its percentiles; "
            "is it a mask, or outside the cropped field?"
        )
    return (image - foreground.mean()) / foreground.std(correction=0)
