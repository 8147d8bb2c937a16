"""From a volume on disk to the tensor that encoders see."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.data.volumes import read_volume
from selip_core.errors import DataError, Problem

if TYPE_CHECKING:
    from monai.data import MetaTensor


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

    Raises:
        ValueError: If a parameter is out of range.

    Example:
        >>> Preprocessing(spacing=(4.0, 4.0, 4.0), size=(48, 56, 48)).size
        (48, 56, 48)
    """

    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0)
    size: tuple[int, int, int] = (48, 56, 48)
    percentiles: tuple[float, float] = (0.5, 99.99)

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
        from monai.transforms import CenterSpatialCrop, SpatialPad

        where = os.fspath(path) if where is None else where
        size = self.size[::-1]
        image = CenterSpatialCrop(size)(self._resample(read_volume(path, where)))
        image = _scale(image, self.percentiles, where)
        image = SpatialPad(size, value=float(image.min()))(image)
        return image.as_subclass(Tensor).permute(0, 3, 2, 1).contiguous()

    def _resample(self, image: "MetaTensor") -> Tensor:
        """Return the image (1, right, anterior, superior) at our spacing."""
        from monai.data import MetaTensor
        from monai.transforms import Orientation, Spacing

        target = self.spacing[::-1]
        image = cast(MetaTensor, Orientation(axcodes="RAS", labels=None)(image))
        factors = [wanted / float(got) for wanted, got in zip(target, image.pixdim, strict=True)]
        smoothed = MetaTensor(_smooth(image.as_tensor(), factors), affine=image.affine)
        resample = Spacing(target, mode="bilinear", padding_mode="border", dtype=np.float32)
        return cast(MetaTensor, resample(smoothed)).as_tensor()


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
    from monai.networks.layers import gaussian_1d, separable_filtering

    if all(factor < 1.001 for factor in factors):
        return image
    kernels = [
        gaussian_1d(torch.tensor((factor - 1) / 2)) if factor > 1.001 else torch.ones(1)
        for factor in factors
    ]
    # The border is repeated: zeros would darken the head where the field of view cuts it.
    return separable_filtering(image[None], kernels, mode="replicate")[0]


def _scale(image: Tensor, percentiles: tuple[float, float], where: str) -> Tensor:
    from monai.transforms import ClipIntensityPercentiles

    image = cast(Tensor, ClipIntensityPercentiles(*percentiles)(image)).as_subclass(Tensor)
    foreground = image[image > image.mean()]
    if len(foreground) == 0 or foreground.amin() == foreground.amax():
        message = (
            "has at most two values left within its percentiles; "
            "is it a mask, or outside the cropped field?"
        )
        raise DataError("a volume cannot be used", [Problem(where, message)])
    return (image - foreground.mean()) / foreground.std(correction=0)
