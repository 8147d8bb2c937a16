"""The 3D DenseNet family, on MONAI's implementation."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, final

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import along_axes, at_width, require_counts, require_rates
from selip_core.encoders.pooling import PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.sequence import run_stages
from selip_core.encoders.spec import ImageEncoderSpec, Size
from selip_core.encoders.strides import HALVED, strides_of

if TYPE_CHECKING:
    from monai.networks.nets.densenet import DenseNet

DEPTHS = (121, 169, 201, 264)


@final
class DenseNetEncoder(ImageEncoder):
    """A 3D DenseNet: the first convolution's map and one a dense block; the last is pooled.

    A block's map is what its last normalisation and activation give: all its layers, before the
    transition to the next block mixes and halves them.

    Args:
        depth: Layers: 121, 169, 201 or 264.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`.
        stem_stride: Stride of the first convolution, and of the max pooling after it, along each
            axis or for all; (1, 2, 2) keeps few thick slices. The three transitions always halve
            all axes.
        dropout: Share of channels that are dropped in training, of what every layer gives.
        width: Factor on the channels that the first convolution and every layer give, 64 and 32.

    Raises:
        ValueError: If the depth is unknown, an option is out of its range, or the width leaves no
            channel.

    Example:
        >>> import torch
        >>> encoder = DenseNetEncoder(121, embed_dim=64, stem_stride=(1, 2, 2), width=1 / 16)
        >>> encoder(torch.zeros(1, 1, 5, 33, 32)).shape
        torch.Size([1, 64])
        >>> encoder.spec.stage_strides[-1], encoder.spec.stage_channels
        ((8, 32, 32), (4, 16, 32, 64, 64))

    Source:
        Huang et al. 2017 (arXiv 1608.06993). Transitions round odd sizes up; MONAI's drop the last
        voxels.
    """

    network: "DenseNet"

    def __init__(
        self,
        depth: int,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: PoolingChoice = "avg",
        stem_stride: int | Size = 2,
        dropout: float = 0.0,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim)
        require_rates(dropout=dropout)
        if depth not in DEPTHS:
            raise ValueError(f"depth must be one of {DEPTHS}, got {depth}")
        stem_stride = along_axes("stem_stride", stem_stride)
        self.embed_dim = embed_dim
        self.network = _build_network(depth, in_channels, stem_stride, dropout, width)
        strides = strides_of([stem_stride, stem_stride, HALVED, HALVED, HALVED])
        # The last transition averages two voxels along each axis, so it must be given two.
        d, h, w = strides[-2]
        spec = ImageEncoderSpec(
            in_channels=in_channels,
            stage_channels=tuple(_channels_of(stage) for stage in self.stages()),
            stage_strides=strides,
            minimum_size=(d + 1, h + 1, w + 1),
        )
        self.pooling = create_pooling(pooling, spec.stage_channels[-1], embed_dim)
        self.spec = spec.count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return what leads to each map: all up to an activation outside the dense blocks."""
        stages: list[list[nn.Module]] = [[]]
        for module in _in_order(self.network):
            stages[-1].append(module)
            if isinstance(module, nn.ReLU):
                stages.append([])
        return stages[:-1]

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the map of the first convolution and that of every dense block."""
        return run_stages(self, x)


def _in_order(network: "DenseNet") -> Iterator[nn.Module]:
    for name, module in network.features.named_children():
        if name.startswith("transition"):
            yield from module.children()
        else:
            yield module
    yield network.class_layers[0]


def _channels_of(stage: list[nn.Module]) -> int:
    *_, last_norm, _ = stage
    return next(last_norm.parameters()).numel()


def _build_network(
    depth: int, in_channels: int, stem_stride: Size, dropout: float, width: float
) -> "DenseNet":
    from monai.networks.nets import densenet

    network: DenseNet = getattr(densenet, f"DenseNet{depth}")(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=1,
        growth_rate=at_width(32, width),
        init_features=at_width(64, width),
        dropout_prob=dropout,
    )
    network.class_layers = nn.Sequential(network.class_layers[0])
    stem: nn.Conv3d = network.features[0]  # type: ignore[assignment]
    stem.stride = stem_stride
    network.features.pool0 = nn.MaxPool3d(kernel_size=3, stride=stem_stride, padding=1)
    for transition in (1, 2, 3):
        pool = nn.AvgPool3d(kernel_size=2, stride=2, ceil_mode=True)
        network.features.get_submodule(f"transition{transition}").pool = pool
    return network


for _depth in DEPTHS:
    register_image_encoder(f"densenet{_depth}")(partial(DenseNetEncoder, _depth))
