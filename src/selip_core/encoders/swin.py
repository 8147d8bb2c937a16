"""The Swin transformer of SwinUNETR, on MONAI's implementation."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.pooling import PoolingFactory, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.spec import ImageEncoderSpec, Size

if TYPE_CHECKING:
    from monai.networks.nets.swin_unetr import SwinTransformer

STAGES = 4


@final
class SwinEncoder(ImageEncoder):
    """A Swin transformer: the map of the patches, and one after each of the four stages.

    Each stage halves its map and doubles the channels. Maps are normalised over their channels, as
    the decoder of SwinUNETR reads them. Unlike SwinUNETR, volumes need not be multiples of 32:
    patches and maps are padded with zeros.

    Args:
        channels: Channels of the first map at width 1: 12 (tiny), 24 (small), 48 (base) or
            96 (large).
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: A pooling by name, or a function of (channels, embed_dim) giving a module.
        patch_size: Voxels of a patch along (depth, height, width). (1, 2, 2) keeps few thick slices
            apart one step longer.
        window: Voxels of a map whose attention is computed together, along each axis. A smaller map
            shrinks it, and the biases of all axes but depth are then those of other offsets, as in
            MONAI: best keep the windows of trained weights.
        depths: Blocks of each stage.
        heads: Heads of the attention in each stage.
        use_v2: Whether a residual convolution stands before each stage (SwinUNETR-V2, and VoCo's
            weights).
        width: Factor on the channels of all stages.

    Raises:
        ValueError: If the heads cannot share the channels that the width leaves, or if there are
            not four stages.

    Example:
        >>> import torch
        >>> encoder = SwinEncoder(12, embed_dim=64, patch_size=(1, 2, 2), window=(3, 3, 3))
        >>> encoder(torch.zeros(1, 1, 9, 17, 16)).shape
        torch.Size([1, 64])
        >>> encoder.spec.stage_strides[-1], encoder.spec.stage_channels
        ((16, 32, 32), (12, 24, 48, 96, 192))

    Source:
        Hatamizadeh et al. 2022 (arXiv 2201.01266). Sizes have the names of the published models of
        SwinUNETR and VoCo. Keys below ``network`` are those below ``swinViT`` in a SwinUNETR.
    """

    network: "SwinTransformer"

    def __init__(
        self,
        channels: int,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: str | PoolingFactory = "avg",
        patch_size: Size = (2, 2, 2),
        window: Size = (7, 7, 7),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        use_v2: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        channels = int(width * channels)
        _check_options(channels, depths, heads)
        self.embed_dim = embed_dim
        self.network = _build_network(
            channels, in_channels, patch_size, window, depths, heads, use_v2
        )
        spec = _describe(channels, in_channels, patch_size, use_v2)
        self.pooling = create_pooling(pooling, spec.stage_channels[-1], embed_dim)
        self.spec = spec.count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the embedding of the patches and the four stages."""
        network = self.network
        stages = [network.layers1, network.layers2, network.layers3, network.layers4]
        if not network.use_v2:
            return [[network.patch_embed], *([stage[0]] for stage in stages)]
        before = [network.layers1c, network.layers2c, network.layers3c, network.layers4c]
        pairs = zip(before, stages, strict=True)
        return [[network.patch_embed], *([first[0], stage[0]] for first, stage in pairs)]

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the normalised map of the patches and that of every stage."""
        self.spec.check_input(x)
        maps = []
        for stage in self.stages():
            x = self.run_stage(partial(_run, stage), x)
            maps.append(self.network.proj_out(x, normalize=True))  # type: ignore[no-untyped-call]
        return maps


def _run(stage: Sequence[nn.Module], x: Tensor) -> Tensor:
    for module in stage:
        x = module(x.contiguous())
    return x


def _check_options(channels: int, depths: Sequence[int], heads: Sequence[int]) -> None:
    if len(depths) != STAGES or len(heads) != STAGES:
        raise ValueError(f"depths and heads must be of four stages, got {depths} and {heads}")
    for stage, count in enumerate(heads):
        have = channels * 2**stage
        if have < 1 or have % count:
            raise ValueError(
                f"width must leave channels that the heads of every stage can share, got {have} "
                f"for {count}"
            )


def _build_network(
    channels: int,
    in_channels: int,
    patch_size: Size,
    window: Size,
    depths: Sequence[int],
    heads: Sequence[int],
    use_v2: bool,
) -> "SwinTransformer":
    from monai.networks.nets.swin_unetr import SwinTransformer

    # While building, MONAI reads numbers off tensors, which those of the meta device do not have.
    with torch.device("cpu"):
        network = SwinTransformer(
            in_chans=in_channels,
            embed_dim=channels,
            window_size=window,
            patch_size=patch_size,
            depths=depths,
            num_heads=heads,
            use_v2=use_v2,
            spatial_dims=3,
        )
    return network.to(torch.get_default_device())


def _describe(channels: int, in_channels: int, patch_size: Size, use_v2: bool) -> ImageEncoderSpec:
    d, h, w = patch_size
    factors = [2**stage for stage in range(STAGES + 1)]
    coarsest = factors[-1]
    # The convolution before the last stage normalises over voxels: it needs more than one.
    smallest = coarsest if use_v2 else coarsest // 2
    return ImageEncoderSpec(
        in_channels=in_channels,
        stage_channels=tuple(channels * factor for factor in factors),
        stage_strides=tuple((d * factor, h * factor, w * factor) for factor in factors),
        minimum_size=(d * smallest, h * smallest, w * smallest),
    )


register_image_encoder("swin_tiny", weights=("monai-swin",))(partial(SwinEncoder, 12))
register_image_encoder("swin_small", weights=("monai-swin",))(partial(SwinEncoder, 24))
register_image_encoder("swin_base", weights=("monai-swin",))(partial(SwinEncoder, 48))
register_image_encoder("swin_large")(partial(SwinEncoder, 96))
