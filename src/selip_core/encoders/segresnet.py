"""The encoder of SegResNet, on MONAI's implementation."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import at_width, require_counts, require_rates
from selip_core.encoders.pooling import PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.sequence import run_stages
from selip_core.encoders.spec import ImageEncoderSpec
from selip_core.encoders.strides import HALVED, half_a_voxel, strides_of

if TYPE_CHECKING:
    from monai.networks.nets.segresnet import SegResNet


@final
class SegResNetEncoder(ImageEncoder):
    """The encoder of SegResNet: the map of the input's size and three coarser ones.

    The coarsest map has a stride of 8 only, and every axis is halved alike: for few thick slices
    another encoder is the better choice.

    Args:
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`.
        blocks: Residual blocks of each map; as many maps.
        dropout: Share of channels that are dropped in training, of what the first convolution
            gives; 0.2 as published.
        width: Factor on the channels, 32 in the first map; MONAI's weights for brain tumours
            have 16.

    Raises:
        ValueError: If the width leaves no channel, if there are no blocks, or if an option is out
            of its range.

    Example:
        >>> import torch
        >>> encoder = SegResNetEncoder(embed_dim=64, width=1 / 8)
        >>> encoder(torch.zeros(1, 1, 9, 17, 16)).shape
        torch.Size([1, 64])
        >>> [tuple(x.shape) for x in encoder.forward_features(torch.zeros(1, 1, 9, 17, 16))][-1]
        (1, 32, 2, 3, 2)

    Source:
        Myronenko 2018 (arXiv 1810.11654).
    """

    network: "SegResNet"

    def __init__(
        self,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: PoolingChoice = "avg",
        blocks: Sequence[int] = (1, 2, 2, 4),
        dropout: float = 0.0,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim)
        require_rates(dropout=dropout)
        channels = at_width(32, width)
        if not blocks or min(blocks) < 1:
            raise ValueError(f"blocks must be at least 1 for every map, got {blocks}")
        self.embed_dim = embed_dim
        self.network = _build_network(in_channels, channels, blocks, dropout)
        strides = strides_of([(1, 1, 1), *[HALVED] * (len(blocks) - 1)])
        spec = ImageEncoderSpec(
            in_channels=in_channels,
            stage_channels=tuple(channels * 2**stage for stage in range(len(blocks))),
            stage_strides=strides,
            minimum_size=half_a_voxel(strides[-1]),
        )
        self.pooling = create_pooling(pooling, spec.stage_channels[-1], embed_dim)
        self.spec = spec.count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the blocks of each map; the first also has the first convolution."""
        first, *later = self.network.down_layers
        stem = [self.network.convInit, self.network.dropout]
        return [[*stem, first], *([stage] for stage in later)]

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the maps that SegResNet's decoder reads."""
        return run_stages(self, x)


def _build_network(
    in_channels: int, channels: int, blocks: Sequence[int], dropout: float
) -> "SegResNet":
    from monai.networks.nets.segresnet import SegResNet

    network = SegResNet(
        spatial_dims=3,
        init_filters=channels,
        in_channels=in_channels,
        dropout_prob=dropout,
        norm=("GROUP", {"num_groups": math.gcd(8, channels)}),
        blocks_down=tuple(blocks),
        blocks_up=(),
    )
    del network.conv_final
    return network


register_image_encoder("segresnet")(SegResNetEncoder)
