"""The encoder of MedNeXt, on MONAI's implementation."""

from functools import partial
from typing import TYPE_CHECKING, final

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import require_counts
from selip_core.encoders.pooling import PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.sequence import run_stages
from selip_core.encoders.spec import ImageEncoderSpec
from selip_core.encoders.strides import HALVED, half_a_voxel, strides_of

if TYPE_CHECKING:
    from monai.networks.nets.mednext import MedNeXt

VARIANTS = ("small", "base", "medium", "large")
CHANNELS = (32, 64, 128, 256, 512)


@final
class MedNeXtEncoder(ImageEncoder):
    """The encoder of MedNeXt: the map of the input's size and four coarser ones.

    Every axis is halved alike: MedNeXt has no anisotropic form.

    Args:
        variant: ``"small"``, ``"base"``, ``"medium"`` or ``"large"``.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`.
        kernel_size: Voxels of the depthwise convolutions along each axis: 3 or 5.

    Raises:
        ValueError: If the variant is unknown, if the kernel is not odd, or if an option is out of
            its range.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     encoder = MedNeXtEncoder("small")
        ...     maps = encoder.forward_features(torch.zeros(1, 1, 9, 33, 32))
        >>> [tuple(x.shape[1:]) for x in maps][-2:]
        [(256, 2, 5, 4), (512, 1, 3, 2)]

    Source:
        Roy et al. 2023 (arXiv 2303.09975).
    """

    network: "MedNeXt"

    def __init__(
        self,
        variant: str,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: PoolingChoice = "avg",
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim, kernel_size=kernel_size)
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {list(VARIANTS)}, got {variant!r}")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.embed_dim = embed_dim
        self.network = _build_network(variant, in_channels, kernel_size)
        self.pooling = create_pooling(pooling, CHANNELS[-1], embed_dim)
        strides = strides_of([(1, 1, 1), *[HALVED] * 4])
        spec = ImageEncoderSpec(
            in_channels=in_channels,
            stage_channels=CHANNELS,
            stage_strides=strides,
            minimum_size=half_a_voxel(strides[-1]),
            normalized_map=-1,
        )
        self.spec = spec.count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the blocks of each map, with what leads to them from the map before."""
        network = self.network
        before = [network.stem, *network.down_blocks]
        blocks = [*network.enc_stages, network.bottleneck]
        return [list(stage) for stage in zip(before, blocks, strict=True)]

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the maps that MedNeXt's decoder reads."""
        return run_stages(self, x)


def _build_network(variant: str, in_channels: int, kernel_size: int) -> "MedNeXt":
    from monai.networks.nets.mednext import create_mednext

    network = create_mednext(variant[0], 3, in_channels, kernel_size=kernel_size)
    del network.up_blocks, network.dec_stages, network.out_0
    return network


for _variant in VARIANTS:
    register_image_encoder(f"mednext_{_variant}")(partial(MedNeXtEncoder, _variant))
