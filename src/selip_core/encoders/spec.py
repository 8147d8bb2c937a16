"""What an image encoder takes and what maps it gives: said before it is run."""

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
        minimum_size: The smallest volume that the encoder takes.
        divisor: The size along each axis must be a multiple of this.
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
    orientation: str = "SAR"
    spacing: tuple[float, float, float] | None = None
    intensity: str = "zero mean and unit variance over the head"
    parameter_count: int = 0
    weights: WeightsSource | None = None

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

    def check_input(self, x: Tensor) -> None:
        """Refuse what the encoder cannot take.

        Raises:
            ValueError: If ``x`` is not ``(batch, in_channels, depth, height, width)`` of an allowed
                size; the message gives the nearest shape that is right.
        """
        shape = tuple(x.shape)
        nearest = self._nearest_shape(shape)
        if shape != nearest:
            raise ValueError(
                f"volumes must have shape (batch, {self.in_channels}, depth, height, width) with "
                f"(depth, height, width) at least {self.minimum_size} and multiples of "
                f"{self.divisor}, got {shape}; the nearest right shape is {nearest}"
            )

    def _nearest_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        size = (1, 1, 1, *shape)[-3:]
        axes = zip(size, self.minimum_size, self.divisor, strict=True)
        return (
            self._batch_size(shape),
            self.in_channels,
            *(max(low, by * round(have / by)) for have, low, by in axes),
        )

    def _batch_size(self, shape: tuple[int, ...]) -> int:
        # Of four axes, the first may be the channels of one volume or a batch without channels.
        has_batch = len(shape) >= 5 or (len(shape) == 4 and shape[0] != self.in_channels)
        return shape[0] if has_batch else 1
