"""MONAI's 3D ResNet behind another stem, and as MedicalNet trained it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast, final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from selip_core.encoders.spec import Size

if TYPE_CHECKING:
    from monai.networks.nets.resnet import ResNet

PLANES = (64, 128, 256, 512)
ZERO_PADDED = (18, 34)
"""Depths whose weights MedicalNet published for shortcuts without parameters."""


@dataclass(frozen=True)
class Stem:
    """The first convolution, the max pooling after it, and how the four stages go on.

    Padding is half the kernel.

    Attributes:
        kernel: Of the convolution.
        stride: Of the convolution.
        pool_kernel: Of the max pooling.
        pool_stride: Of the max pooling.
        stage_strides: By how much each stage makes the map smaller.
        dilations: Of the 3x3x3 convolutions of each stage.
        as_published: Whether shortcuts are those of MedicalNet's published weights.
    """

    kernel: Size
    stride: Size
    pool_kernel: Size
    pool_stride: Size
    stage_strides: tuple[int, ...] = (1, 2, 2, 2)
    dilations: tuple[int, ...] = (1, 1, 1, 1)
    as_published: bool = False

    def pool(self) -> nn.MaxPool3d:
        """Return the max pooling."""
        depth, height, width = self.pool_kernel
        padding = (depth // 2, height // 2, width // 2)
        return nn.MaxPool3d(self.pool_kernel, self.pool_stride, padding)


_MEDICALNET = Stem((7, 7, 7), (2, 2, 2), (3, 3, 3), (2, 2, 2), as_published=True)
STEMS = {
    "paper": Stem((7, 7, 7), (1, 2, 2), (1, 3, 3), (1, 2, 2)),
    "cubic": Stem((3, 3, 3), (2, 2, 2), (3, 3, 3), (2, 2, 2)),
    "medicalnet": replace(_MEDICALNET, stage_strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
    "medicalnet_strided": _MEDICALNET,
}


def same_stems(stem: str, stages: int) -> frozenset[str]:
    """Return the names of the stems that compute the same as this one in the first stages.

    Example:
        >>> sorted(same_stems("medicalnet", stages=2)), sorted(same_stems("medicalnet", stages=3))
        (['medicalnet', 'medicalnet_strided'], ['medicalnet'])
    """

    def cut(each: Stem) -> Stem:
        return replace(
            each, stage_strides=each.stage_strides[:stages], dilations=each.dilations[:stages]
        )

    return frozenset(name for name, each in STEMS.items() if cut(each) == cut(STEMS[stem]))


@final
class ZeroPaddedShortcut(nn.Module):
    """Every ``stride``-th voxel, and channels of zeros up to ``channels``: no parameters.

    The network that MedicalNet trained, and MONAI after it, cut the gradient here. This passes it.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b channels d2 h2 w2"]:
        """Return the map that is added to the block's."""
        x = x[..., :: self.stride, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, 0, 0, 0, self.channels - x.shape[1]))


def build_network(depth: int, in_channels: int, stem: Stem, stages: int, width: float) -> "ResNet":
    """Return MONAI's network with this stem and the first stages, without a head."""
    from monai.networks.nets.resnet import ResNet, resnet_params

    block, blocks, *_ = resnet_params[f"resnet{depth}"]
    network = ResNet(
        block=block,
        layers=blocks,
        block_inplanes=list(PLANES),
        n_input_channels=in_channels,
        conv1_t_size=stem.kernel,  # type: ignore[arg-type]
        conv1_t_stride=stem.stride,  # type: ignore[arg-type]
        widen_factor=width,
        feed_forward=False,
        bias_downsample=False,
    )
    network.maxpool = stem.pool()
    for number, stride, dilation in zip(
        range(1, 5), stem.stage_strides, stem.dilations, strict=True
    ):
        stage = network.get_submodule(f"layer{number}") if number <= stages else nn.Identity()
        setattr(network, f"layer{number}", stage)
        _set_geometry(stage, stride, dilation)
        if stem.as_published and depth in ZERO_PADDED:
            _pad_shortcuts(stage, stride)
    return network


def _set_geometry(stage: nn.Module, stride: int, dilation: int) -> None:
    for convolution in stage.modules():
        if isinstance(convolution, nn.Conv3d):
            if convolution.stride != (1, 1, 1):
                convolution.stride = (stride,) * 3
            if convolution.kernel_size != (1, 1, 1):
                convolution.dilation = convolution.padding = (dilation,) * 3


def _pad_shortcuts(stage: nn.Module, stride: int) -> None:
    for block in stage.children():
        if isinstance(block.downsample, nn.Sequential):
            norm = cast(nn.BatchNorm3d, block.downsample[-1])
            block.downsample = ZeroPaddedShortcut(norm.num_features, stride)
