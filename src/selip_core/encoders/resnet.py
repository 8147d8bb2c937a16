"""The 3D ResNet family, on MONAI's implementation."""

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, final

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.pooling import PoolingFactory, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.spec import ImageEncoderSpec, Size

if TYPE_CHECKING:
    from monai.networks.nets.resnet import ResNet

PLANES = (64, 128, 256, 512)
DEPTHS = (10, 18, 34, 50, 101, 152, 200)


@dataclass(frozen=True)
class Stem:
    """The first convolution and the max pooling after it; padding is half the kernel."""

    kernel: Size
    stride: Size
    pool_kernel: Size
    pool_stride: Size

    def pool(self) -> nn.MaxPool3d:
        """Return the max pooling."""
        depth, height, width = self.pool_kernel
        padding = (depth // 2, height // 2, width // 2)
        return nn.MaxPool3d(self.pool_kernel, self.pool_stride, padding)


STEMS = {
    "paper": Stem((7, 7, 7), (1, 2, 2), (1, 3, 3), (1, 2, 2)),
    "cubic": Stem((3, 3, 3), (2, 2, 2), (3, 3, 3), (2, 2, 2)),
}


@final
class ResNetEncoder(ImageEncoder):
    """A 3D ResNet: the stem's map and one a stage; the last is pooled to an embedding.

    Args:
        depth: Layers: 10, 18, 34, 50, 101, 152 or 200. From 50 on the blocks are bottlenecks.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: ``"avg"``, ``"grid"``, or a function of (channels, embed_dim) giving a module.
        stem: ``"paper"`` for few thick slices: convolution 7x7x7 with stride 1x2x2, max pooling
            1x3x3 with stride 1x2x2, so depth is first halved in the second stage. ``"cubic"`` for
            small, nearly isotropic volumes: convolution and max pooling 3x3x3, both with stride 2.
        stages: How many of the four stages to keep. Each stage after the first halves the map: with
            fewer stages the last map is finer and says better where a small lesion is.
        width: Factor on the channels of all stages; before its pooling ``resnet10`` has 14 million
            parameters at 1 and 0.9 million at 0.25.

    Raises:
        ValueError: If depth, stem, stages or pooling is unknown, or if the width leaves no channel.

    Example:
        >>> import torch
        >>> encoder = ResNetEncoder(10, embed_dim=64, stem="cubic", width=0.25)
        >>> encoder(torch.zeros(2, 1, 24, 28, 24)).shape
        torch.Size([2, 64])
        >>> encoder.spec.stage_strides
        ((2, 2, 2), (4, 4, 4), (8, 8, 8), (16, 16, 16), (32, 32, 32))

    Source:
        The stem is that of the image encoder of SeLIP (arXiv 2503.19801). Shortcuts are
        convolutions at every depth: MONAI's zero-padded ones pass no gradient.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: str | PoolingFactory = "avg",
        stem: str = "paper",
        stages: int = 4,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        _check_options(depth, stem, stages, width)
        self.embed_dim = embed_dim
        self._stages = stages
        self.network = _build_network(depth, in_channels, STEMS[stem], stages, width)
        spec = _describe(depth, in_channels, STEMS[stem], stages, width)
        self.pooling = create_pooling(pooling, spec.stage_channels[-1], embed_dim)
        self.spec = spec.count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the stem and the stages that are kept."""
        network = self.network
        later = [network.layer1, network.layer2, network.layer3, network.layer4]
        return [[network.conv1, network.bn1], *([stage] for stage in later[: self._stages])]

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the stem's map before its pooling and the map of every stage."""
        self.spec.check_input(x)
        network = self.network
        stem = network.act(network.bn1(network.conv1(x)))
        maps = [stem]
        x = network.maxpool(stem)
        for (stage,) in self.stages()[1:]:
            x = self.run_stage(stage, x)
            maps.append(x)
        return maps


def _check_options(depth: int, stem: str, stages: int, width: float) -> None:
    if depth not in DEPTHS:
        raise ValueError(f"depth must be one of {DEPTHS}, got {depth}")
    if stem not in STEMS:
        raise ValueError(f"stem must be one of {sorted(STEMS)}, got {stem!r}")
    if stages not in range(1, len(PLANES) + 1):
        raise ValueError(f"stages must be 1, 2, 3 or 4, got {stages}")
    if not math.isfinite(width) or int(width * PLANES[0]) < 1:
        raise ValueError(
            f"width must leave at least one of 64 channels (1/64 or more), got {width}"
        )


def _build_network(depth: int, in_channels: int, stem: Stem, stages: int, width: float) -> "ResNet":
    from monai.networks.nets.resnet import ResNet, resnet_params

    block, layers, *_ = resnet_params[f"resnet{depth}"]
    network = ResNet(
        block=block,
        layers=layers,
        block_inplanes=list(PLANES),
        n_input_channels=in_channels,
        conv1_t_size=stem.kernel,  # type: ignore[arg-type]
        conv1_t_stride=stem.stride,  # type: ignore[arg-type]
        widen_factor=width,
        feed_forward=False,
        bias_downsample=False,
    )
    network.maxpool = stem.pool()
    for unused in range(stages + 1, len(PLANES) + 1):
        setattr(network, f"layer{unused}", nn.Identity())
    return network


def _describe(
    depth: int, in_channels: int, stem: Stem, stages: int, width: float
) -> ImageEncoderSpec:
    planes = [int(width * channels) for channels in PLANES[:stages]]
    expansion = 4 if depth >= 50 else 1
    strides = [stem.stride]
    for step in (stem.pool_stride, *[(2, 2, 2)] * (stages - 1)):
        d, h, w = strides[-1]
        strides.append((d * step[0], h * step[1], w * step[2]))
    # Of a volume under half a voxel of the coarsest map, most of what that voxel sees is padding.
    d, h, w = strides[-1]
    return ImageEncoderSpec(
        in_channels=in_channels,
        stage_channels=(planes[0], *(expansion * channels for channels in planes)),
        stage_strides=tuple(strides),
        minimum_size=(d // 2, h // 2, w // 2),
    )


for _depth in DEPTHS:
    register_image_encoder(f"resnet{_depth}")(partial(ResNetEncoder, _depth))
