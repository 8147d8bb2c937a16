"""The Swin transformer of SwinUNETR, on MONAI's implementation."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import along_axes, at_width, require_counts, require_rates
from selip_core.encoders.pooling import PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.sequence import run_in_order
from selip_core.encoders.spec import ImageEncoderSpec, Size

if TYPE_CHECKING:
    from monai.networks.nets.swin_unetr import BasicLayer, SwinTransformer

STAGES = 4


@final
class SwinEncoder(ImageEncoder):
    """A Swin transformer: the map of the patches, and one after each of the four stages.

    Each stage halves its map and doubles the channels. Maps are normalised over their channels, as
    the decoder of SwinUNETR reads them. Unlike SwinUNETR, volumes need not be multiples of 32:
    patches and maps are padded with zeros. Freezing, rates and gradient checkpointing go block by
    block.

    Args:
        channels: Channels of the first map at width 1: 12 (tiny), 24 (small), 48 (base) or
            96 (large).
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`.
        patch_size: Voxels of a patch along (depth, height, width), or one number for all. (1, 2, 2)
            keeps few thick slices apart one step longer.
        window: Voxels of a map whose attention is computed together, likewise. A smaller map
            shrinks it, and the biases of all axes but depth are then those of other offsets, as in
            MONAI: best keep the windows of trained weights.
        depths: Blocks of each stage.
        heads: Heads of the attention in each stage.
        use_v2: Whether a residual convolution stands before each stage (SwinUNETR-V2, and VoCo's
            weights).
        dropout: Share of values that are dropped in training, of patches and after attention and
            linear layers.
        drop_path: Share of volumes whose last block is left out in training (stochastic depth);
            from the first block on, which is never left out, it grows evenly.
        width: Factor on the channels of all stages.

    Raises:
        ValueError: If the heads cannot share the channels that the width leaves, if there are not
            four stages, or if an option is out of its range.

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
        pooling: PoolingChoice = "avg",
        patch_size: int | Size = 2,
        window: int | Size = 7,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        use_v2: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim)
        require_rates(dropout=dropout, drop_path=drop_path)
        channels = at_width(channels, width)
        patch_size = along_axes("patch_size", patch_size)
        window = along_axes("window", window)
        _check_options(channels, depths, heads)
        self.embed_dim = embed_dim
        self.network = _build_network(
            channels, in_channels, patch_size, window, depths, heads, use_v2, dropout, drop_path
        )
        spec = _describe(channels, in_channels, patch_size, use_v2)
        self.pooling = create_pooling(pooling, spec.stage_channels[-1], embed_dim)
        self.spec = spec.count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the embedding of the patches and every block, with what stands beside it."""
        blocks = [block for _, blocks in self._layers() for block in blocks]
        return [self._embedding(), *blocks]

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the normalised map of the patches and that of every stage."""
        self.check_input(x)
        x = self.run_stage(partial(run_in_order, self._embedding()), x)
        maps = [x]
        for layer, blocks in self._layers():
            mask = _mask(layer, x)
            for block in blocks:
                x = self.run_stage(partial(_run, block, mask), x)
            maps.append(x)
        return [self.network.proj_out(each, normalize=True) for each in maps]  # type: ignore[no-untyped-call]

    def _embedding(self) -> list[nn.Module]:
        return [self.network.patch_embed, self.network.pos_drop]

    def _layers(self) -> Iterator[tuple["BasicLayer", list[list[nn.Module]]]]:
        """Yield MONAI's four layers with their blocks.

        The convolution before a layer goes with its first block, the merging of patches with its
        last.
        """
        for number in range(1, STAGES + 1):
            layer: BasicLayer = self.network.get_submodule(f"layers{number}.0")  # type: ignore[assignment]
            blocks = [[block] for block in layer.blocks]
            blocks[-1].append(layer.downsample)  # type: ignore[arg-type]  # is never None here
            if self.network.use_v2:
                blocks[0].insert(0, self.network.get_submodule(f"layers{number}c.0"))
            yield layer, blocks


def _mask(layer: "BasicLayer", x: Tensor) -> Tensor:
    """Return what parts voxels that a shifted window joins across the borders of the map."""
    from monai.networks.nets.swin_unetr import compute_mask, get_window_size

    size = tuple(x.shape[2:])
    window, shift = get_window_size(size, layer.window_size, layer.shift_size)  # type: ignore[no-untyped-call]
    padded = [-(-voxels // by) * by for voxels, by in zip(size, window, strict=True)]
    mask: Tensor = compute_mask(padded, window, shift, x.device)  # type: ignore[no-untyped-call]
    return mask


def _run(modules: Sequence[nn.Module], mask: Tensor, x: Tensor) -> Tensor:
    from monai.networks.blocks import UnetrBasicBlock
    from monai.networks.nets.swin_unetr import SwinTransformerBlock

    for module in modules:
        if isinstance(module, UnetrBasicBlock):
            x = module(x.contiguous())
            continue
        x = rearrange(x, "b c d h w -> b d h w c")
        x = module(x, mask) if isinstance(module, SwinTransformerBlock) else module(x)
        x = rearrange(x, "b d h w c -> b c d h w")
    return x


def _check_options(channels: int, depths: Sequence[int], heads: Sequence[int]) -> None:
    if len(depths) != STAGES or len(heads) != STAGES:
        raise ValueError(f"depths and heads must be of four stages, got {depths} and {heads}")
    for stage, (count, blocks) in enumerate(zip(heads, depths, strict=True)):
        require_counts(heads=count, depths=blocks)
        have = channels * 2**stage
        if have % count:
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
    dropout: float,
    drop_path: float,
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
            drop_rate=dropout,
            drop_path_rate=drop_path,
            spatial_dims=3,
        )
    return network.to(torch.get_default_device())


def _describe(channels: int, in_channels: int, patch_size: Size, use_v2: bool) -> ImageEncoderSpec:
    d, h, w = patch_size
    factors = [2**stage for stage in range(STAGES + 1)]
    smallest = factors[-1] // 2
    return ImageEncoderSpec(
        in_channels=in_channels,
        stage_channels=tuple(channels * factor for factor in factors),
        stage_strides=tuple((d * factor, h * factor, w * factor) for factor in factors),
        minimum_size=(d * smallest, h * smallest, w * smallest),
        # The convolution before the last stage normalises over the voxels of its input.
        normalized_map=-2 if use_v2 else None,
    )


register_image_encoder("swin_tiny", weights=("monai-swin",))(partial(SwinEncoder, 12))
register_image_encoder("swin_small", weights=("monai-swin",))(partial(SwinEncoder, 24))
register_image_encoder("swin_base", weights=("monai-swin",))(partial(SwinEncoder, 48))
register_image_encoder("swin_large")(partial(SwinEncoder, 96))
