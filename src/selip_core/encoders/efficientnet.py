"""The 3D EfficientNet family, on MONAI's implementation."""

import math
from functools import partial
from typing import TYPE_CHECKING, final

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import along_axes, require_counts, require_rates
from selip_core.encoders.pooling import PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.sequence import run_stages
from selip_core.encoders.spec import ImageEncoderSpec, Size
from selip_core.encoders.strides import HALVED, half_a_voxel, strides_of

if TYPE_CHECKING:
    from monai.networks.nets.efficientnet import EfficientNet

VARIANTS = tuple(f"b{variant}" for variant in range(8))


@final
class EfficientNetEncoder(ImageEncoder):
    """A 3D EfficientNet: one map a stride from 2 on; the last is pooled.

    The last map is that of the last block: the convolution to 1280 channels before the classifier
    is left out.

    Args:
        variant: ``"b0"`` to ``"b7"``.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`.
        stem_stride: Stride of the first convolution, along each axis or for all; (1, 2, 2) halves
            few thick slices once less. Later strides always halve all axes.
        drop_path: How often blocks are left out in training (stochastic depth, as MONAI's
            ``drop_connect_rate``); as published 0.2. Block i of n, counted from 0, is left out for
            a share ``drop_path * i / n`` of the volumes if it has a shortcut; those without one,
            which change the channels or the size, are never left out.

    Raises:
        ValueError: If the variant is unknown, or if an option is out of its range.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     encoder = EfficientNetEncoder("b0", stem_stride=(1, 2, 2))
        ...     maps = encoder.forward_features(torch.zeros(1, 1, 9, 65, 64))
        >>> [tuple(x.shape[1:]) for x in maps][-2:]
        [(112, 2, 5, 4), (320, 1, 3, 2)]

    Source:
        Tan and Le 2019 (arXiv 1905.11946). MONAI pads for the size of the images in that paper;
        here each volume is padded by the same rule for its own size. Depthwise convolutions start
        with the variance of the authors' code, which MONAI's do not.
    """

    network: "EfficientNet"

    def __init__(
        self,
        variant: str,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: PoolingChoice = "avg",
        stem_stride: int | Size = 2,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim)
        require_rates(drop_path=drop_path)
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {list(VARIANTS)}, got {variant!r}")
        stem_stride = along_axes("stem_stride", stem_stride)
        self.embed_dim = embed_dim
        self.network = _build_network(variant, in_channels, stem_stride, drop_path)
        strides = strides_of([stem_stride, HALVED, HALVED, HALVED, HALVED])
        spec = ImageEncoderSpec(
            in_channels=in_channels,
            stage_channels=tuple(_channels_of(stage) for stage in self.stages()),
            stage_strides=strides,
            minimum_size=half_a_voxel(strides[-1]),
        )
        self.pooling = create_pooling(pooling, spec.stage_channels[-1], embed_dim)
        self.spec = spec.count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the blocks of each stride; the first also has the first convolution."""
        network = self.network
        blocks = list(network._blocks)
        stem = [network._conv_stem_padding, network._conv_stem, network._bn0, network._swish]
        return [[*stem, blocks[0]], blocks[1:2], blocks[2:3], blocks[3:5], blocks[5:]]

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the last map of every stride."""
        return run_stages(self, x)


@final
class SamePadding(nn.Module):
    """Pads with zeros such that a convolution gives ``ceil(size / stride)`` voxels along each axis.

    Where the padding is odd, the end of an axis gets more, as in TensorFlow's "SAME".

    Args:
        convolution: The convolution that comes after it, without padding and dilation of its own.

    Example:
        >>> import torch
        >>> convolution = nn.Conv3d(1, 1, kernel_size=3, stride=2)
        >>> SamePadding(convolution)(torch.zeros(1, 1, 4, 5, 6)).shape
        torch.Size([1, 1, 5, 7, 7])
    """

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.kernel, self.stride = convolution.kernel_size, convolution.stride

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c pd ph pw"]:
        """Return the padded volume."""
        padding: list[int] = []
        for size, kernel, stride in zip(x.shape[2:], self.kernel, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding = [total // 2, total - total // 2, *padding]  # the last axis comes first
        return nn.functional.pad(x, padding)


def _channels_of(stage: list[nn.Module]) -> int:
    *_, bias_of_last_norm = stage[-1].parameters()
    return bias_of_last_norm.numel()


def _build_network(
    variant: str, in_channels: int, stem_stride: Size, drop_path: float
) -> "EfficientNet":
    from monai.networks.nets.efficientnet import (
        EfficientNetBNFeatures,
        MBConvBlock,
        efficientnet_params,
    )

    network = EfficientNetBNFeatures(
        f"efficientnet-{variant}",
        pretrained=False,
        spatial_dims=3,
        in_channels=in_channels,
        num_classes=1,
    )
    stem: nn.Conv3d = network._conv_stem  # type: ignore[assignment]
    stem.stride = stem_stride
    network._conv_stem_padding = SamePadding(stem)
    *_, published = efficientnet_params[f"efficientnet-{variant}"]
    for block in network._blocks.modules():
        if isinstance(block, MBConvBlock):  # all its other kernels are one voxel
            rate = block.drop_connect_rate or 0.0
            block.drop_connect_rate = rate * drop_path / published
            convolution = block._depthwise_conv
            block._depthwise_conv_padding = SamePadding(convolution)
            # MONAI divides by the channels too, though each sees one: maps would start near zero.
            nn.init.normal_(convolution.weight, std=math.sqrt(2 / convolution.weight[0].numel()))
    del network._conv_head, network._bn1, network._fc
    return network


for _variant in VARIANTS:
    register_image_encoder(f"efficientnet_{_variant}")(partial(EfficientNetEncoder, _variant))
