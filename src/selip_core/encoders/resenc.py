"""The residual encoder of nnU-Net, on its authors' implementation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from selip_core._optional import require
from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import along_axes, at_width, require_counts, require_rates
from selip_core.encoders.pooling import PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.spec import ImageEncoderSpec, Size
from selip_core.encoders.strides import half_a_voxel, strides_of

if TYPE_CHECKING:
    from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder

STRIDES: tuple[Size, ...] = ((1, 1, 1), *[(2, 2, 2)] * 5)
BLOCKS = (1, 3, 4, 6)
FIRST_FEATURES, MOST_FEATURES = 32, 320


@final
class ResEncUNetEncoder(ImageEncoder):
    """The encoder of nnU-Net's residual U-Net: one map a stage; the last is pooled to an embedding.

    nnU-Net's presets M, L and XL are one network: they differ in the memory they plan for, hence in
    the patch, and a large patch may bring a seventh stage. The defaults are the six stages of
    OpenMind's ResEncL. The options have the names and meanings of ``arch_kwargs`` in a plans file,
    so that an encoder can be made as planned; axes stand in the order of the volume's.

    Volumes of any size are taken. Where a size does not divide, the shortcut of a block averages
    the voxels that are left; nnU-Net would refuse it. On sizes that divide both are the same.

    Args:
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`.
        strides: Input voxels per output voxel of each stage, for each axis or for all; as many as
            there are stages. For few thick slices, stages that halve only the plane come first:
            ``(1, 2, 2)``.
        kernel_sizes: Odd size of the kernels, of all stages or of each, for each axis or for all.
        features_per_stage: Channels of each stage; by default 32, doubled to at most 320.
        n_blocks_per_stage: Residual blocks of each stage; by default 1, 3, 4, then 6.
        drop_path: Share of volumes for which a block is left out in training (stochastic depth),
            the same for every block.
        width: Factor on the channels of all stages.

    Raises:
        ImportError: If dynamic-network-architectures is missing; the message tells what to install.
        ValueError: If the options are not of one number of stages, if no stride is above 1, if a
            kernel is even, or if the width leaves no channel.

    Example:
        >>> import torch
        >>> encoder = ResEncUNetEncoder(embed_dim=64, width=0.125)
        >>> encoder(torch.zeros(2, 1, 20, 64, 60)).shape
        torch.Size([2, 64])
        >>> encoder.spec.stage_channels
        (4, 8, 16, 32, 40, 40)

    Source:
        nnU-Net Revisited (Isensee et al., arXiv 2404.09556). The six stages: Revisiting MAE
        pre-training for 3D medical image segmentation (Wald et al., arXiv 2410.23132). Unlike
        nnU-Net's, the last normalisation of a block starts at 1, not at 0: so gradients reach every
        parameter from the first step on.
    """

    def __init__(
        self,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: PoolingChoice = "avg",
        strides: Sequence[int | Sequence[int]] = STRIDES,
        kernel_sizes: int | Sequence[int | Sequence[int]] = 3,
        features_per_stage: Sequence[int] | None = None,
        n_blocks_per_stage: Sequence[int] | None = None,
        drop_path: float = 0.0,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim)
        require_rates(drop_path=drop_path)
        count = _count_stages(strides)
        if isinstance(kernel_sizes, int):
            kernel_sizes = [kernel_sizes] * count
        if n_blocks_per_stage is None:
            n_blocks_per_stage = [BLOCKS[min(stage, 3)] for stage in range(count)]
        if features_per_stage is None:
            features_per_stage = [min(FIRST_FEATURES * 2**i, MOST_FEATURES) for i in range(count)]
        _check_stages(strides, kernel_sizes, features_per_stage, n_blocks_per_stage)
        steps = [along_axes("strides", step) for step in strides]
        if all(step == (1, 1, 1) for step in steps):
            raise ValueError(f"strides must be above 1 at some stage, got {strides}")
        kernels = [_odd(size) for size in kernel_sizes]
        features = [at_width(channels, width) for channels in features_per_stage]
        self.embed_dim = embed_dim
        self.network = _build_network(
            in_channels, steps, kernels, features, n_blocks_per_stage, drop_path
        )
        self.pooling = create_pooling(pooling, features[-1], embed_dim)
        self.spec = _describe(in_channels, steps, features).count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the stem and the stages."""
        return [[self.network.stem], *([stage] for stage in self.network.stages)]

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the map of every stage; the first has the resolution of the volume."""
        self.check_input(x)
        x = self.run_stage(self.network.stem, x)
        maps = []
        for stage in self.network.stages:
            x = self.run_stage(stage, x)
            maps.append(x)
        return maps


@final
class PartialAverage(nn.Module):
    """Averages as far apart as they are wide; what is left at an end makes one of its own.

    So it gives as many voxels as the strided convolution beside it, for any size.
    """

    def __init__(self, window: Sequence[int]) -> None:
        super().__init__()
        self.window = tuple(window)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c less_d less_h less_w"]:
        """Return the averages."""
        window = [min(pair) for pair in zip(self.window, x.shape[2:], strict=True)]
        return avg_pool3d(x, window, ceil_mode=True)


def _count_stages(strides: Any) -> int:
    if isinstance(strides, str) or not isinstance(strides, Sequence):
        raise ValueError(
            "strides must have one entry a stage, each a whole number or three of them, as in "
            f"{STRIDES[:2]}, got {strides!r}"
        )
    return len(strides)


def _check_stages(
    strides: Sequence[int | Sequence[int]],
    kernel_sizes: Sequence[int | Sequence[int]],
    features: Sequence[int],
    blocks: Sequence[int],
) -> None:
    counts = {
        "strides": len(strides),
        "kernel_sizes": len(kernel_sizes),
        "features_per_stage": len(features),
        "n_blocks_per_stage": len(blocks),
    }
    if len(set(counts.values())) > 1 or not strides:
        raise ValueError(f"strides and the other options must have one entry a stage, got {counts}")
    for stage in zip(features, blocks, strict=True):
        require_counts(features_per_stage=stage[0], n_blocks_per_stage=stage[1])


def _odd(kernel_size: int | Sequence[int]) -> Size:
    sizes = along_axes("kernel_sizes", kernel_size)
    if any(size % 2 == 0 for size in sizes):
        raise ValueError(f"kernel sizes must be odd, got {sizes}")
    return sizes


def _build_network(
    in_channels: int,
    strides: Sequence[Size],
    kernel_sizes: Sequence[Size],
    features: Sequence[int],
    blocks: Sequence[int],
    drop_path: float,
) -> "ResidualEncoder":
    library = require("dynamic_network_architectures.building_blocks.residual_encoders", "nnunet")
    options: dict[str, Any] = {
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "stochastic_depth_p": drop_path,
    }
    network: ResidualEncoder = library.ResidualEncoder(
        in_channels,
        len(strides),
        [*features],
        nn.Conv3d,
        [[*size] for size in kernel_sizes],
        [[*step] for step in strides],
        [*blocks],
        **options,
    )
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=1e-2)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        skip: Any = getattr(module, "skip", None)
        if isinstance(skip, nn.Sequential) and isinstance(skip[0], nn.AvgPool3d):
            skip[0] = PartialAverage(module.stride)
    return network


def _describe(in_channels: int, steps: Sequence[Size], features: Sequence[int]) -> ImageEncoderSpec:
    strides = strides_of(steps)
    return ImageEncoderSpec(
        in_channels=in_channels,
        stage_channels=tuple(features),
        stage_strides=strides,
        minimum_size=half_a_voxel(strides[-1]),
        normalized_map=-1,
    )


register_image_encoder("resenc_unet", weights=("openmind",))(ResEncUNetEncoder)
