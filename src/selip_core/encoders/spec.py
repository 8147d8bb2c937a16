"""What an image encoder takes and what maps it gives: said before it is run."""

import math
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from selip_core.pretrained.source import WeightsSource

Size = tuple[int, int, int]
"""Voxels, or voxels per step, along depth, height and width."""


@dataclass(frozen=True)
class ImageEncoderSpec:
    """What an encoder takes, and its feature pyramid.

    Axes stand in (depth, height, width) order. A map of stride ``s`` has ``ceil(size / s)`` voxels
    along an axis of ``size`` voxels.

    Attributes:
        in_channels: Channels of the input volume.
        stage_channels: Channels of each map of the pyramid, finest to coarsest.
        stage_strides: Input voxels per map voxel, for each map and axis, counted from the input.
        minimum_size: The smallest size along each axis.
        divisor: The size along each axis must be a multiple of this.
        normalized_map: Index of the map over whose voxels the encoder normalises each channel, also
            in evaluation, if it does: the coarsest such map must have two voxels, along any axis.
        orientation: Where depth, height and width grow to: superior, anterior, right.
        spacing: Millimetres a voxel along each axis that the weights were trained at; ``None`` if
            any will do.
        intensity: How the weights expect the voxels to be scaled.
        parameter_count: Parameters of the encoder, its pooling included.
        weights: Where the weights come from; ``None`` if they were drawn at random.

    Example:
        >>> spec = ImageEncoderSpec(1, (8, 16), ((1, 2, 2), (2, 4, 4)), minimum_size=(2, 4, 4))
        >>> spec.stage_sizes((20, 225, 224))
        [(20, 113, 112), (10, 57, 56)]
    """

    in_channels: int
    stage_channels: tuple[int, ...]
    stage_strides: tuple[Size, ...]
    minimum_size: Size
    divisor: Size = (1, 1, 1)
    normalized_map: int | None = None
    orientation: str = "SAR"
    spacing: tuple[float, float, float] | None = None
    intensity: str = "zero mean and unit variance over the head"
    parameter_count: int = 0
    weights: WeightsSource | None = None

    @property
    def normalized_stride(self) -> Size | None:
        """Input voxels per voxel of the normalised map; a volume must be larger along an axis."""
        return None if self.normalized_map is None else self.stage_strides[self.normalized_map]

    def count_parameters(self, encoder: nn.Module) -> Self:
        """Return this with the number of parameters of the encoder it describes."""
        return replace(self, parameter_count=sum(p.numel() for p in encoder.parameters()))

    def without_weights(self) -> Self:
        """Return this with what is known of no weights: their origin, and their volumes."""
        default = type(self)
        return replace(
            self,
            orientation=default.orientation,
            spacing=default.spacing,
            intensity=default.intensity,
            weights=default.weights,
        )

    def stage_sizes(self, size: Size) -> list[Size]:
        """Return the size of every map of the pyramid for a volume of this size, in voxels."""
        return [
            (-(-size[0] // d), -(-size[1] // h), -(-size[2] // w)) for d, h, w in self.stage_strides
        ]

    def nearest_size(self, size: Size) -> Size:
        """Return the allowed size that is nearest to this one, in voxels.

        Example:
            >>> spec = ImageEncoderSpec(1, (8,), ((4, 8, 8),), (2, 4, 4), normalized_map=-1)
            >>> spec.nearest_size((1, 6, 9)), spec.nearest_size((2, 6, 8))
            ((2, 6, 9), (2, 6, 9))
        """
        depth, height, width = (
            max(low, by * round(have / by))
            for have, low, by in zip(size, self.minimum_size, self.divisor, strict=True)
        )
        if self.normalized_map is None:
            return depth, height, width
        return self._of_two_voxels((depth, height, width), self.normalized_map)

    def check_input(self, x: Tensor) -> None:
        """Refuse shapes that the encoder cannot take.

        Raises:
            ValueError: If ``x`` is not ``(batch, in_channels, depth, height, width)`` of an allowed
                size; the message gives the nearest shape that is right.
        """
        shape = tuple(x.shape)
        nearest = self._nearest_shape(shape)
        if shape == nearest:
            return
        told = f"the nearest right shape is {nearest}" if nearest else "that is too many axes"
        raise ValueError(
            f"volumes must have shape (batch, {self.in_channels}, depth, height, width) with "
            f"(depth, height, width) at least {self.minimum_size} and multiples of "
            f"{self.divisor}{self._two_voxels()}, got {shape}; {told}"
        )

    def _of_two_voxels(self, size: Size, number: int) -> Size:
        if math.prod(self.stage_sizes(size)[number]) > 1:
            return size
        # One axis will do: that which is nearest to a second voxel, width before depth.
        wanted = [
            by * (stride // by + 1)
            for stride, by in zip(self.stage_strides[number], self.divisor, strict=True)
        ]
        axis = min((2, 1, 0), key=lambda each: wanted[each] - size[each])
        depth, height, width = (
            wanted[each] if each == axis else have for each, have in enumerate(size)
        )
        return depth, height, width

    def _two_voxels(self) -> str:
        if self.normalized_stride is None:
            return ""
        return (
            f", above {self.normalized_stride} along one axis or more (one voxel alone cannot be "
            "normalised)"
        )

    def _nearest_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        if len(shape) > 5:
            return None  # which axis is one too many, nobody can tell
        depth, height, width = (1, 1, 1, *shape)[-3:]
        size = self.nearest_size((depth, height, width))
        return (self._batch_size(shape), self.in_channels, *size)

    def _batch_size(self, shape: tuple[int, ...]) -> int:
        # Of four axes, the first may be the channels of one volume or a batch without channels.
        has_batch = len(shape) >= 5 or (len(shape) == 4 and shape[0] != self.in_channels)
        return shape[0] if has_batch else 1
