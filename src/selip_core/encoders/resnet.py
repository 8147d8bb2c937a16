"""The 3D ResNet family, on MONAI's implementation."""

from functools import partial
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import at_width, require_counts
from selip_core.encoders.pooling import PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.resnet_network import PLANES, STEMS, Stem, build_network, same_stems
from selip_core.encoders.spec import ImageEncoderSpec
from selip_core.encoders.strides import half_a_voxel, strides_of

DEPTHS = (10, 18, 34, 50, 101, 152, 200)


@final
class ResNetEncoder(ImageEncoder):
    """A 3D ResNet: the stem's map and one a stage; the last is pooled to an embedding.

    Args:
        depth: Layers: 10, 18, 34, 50, 101, 152 or 200. From 50 on the blocks are bottlenecks.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`.
        stem: ``"paper"`` for few thick slices: convolution 7x7x7 with stride 1x2x2, max pooling
            1x3x3 with stride 1x2x2, so depth is first halved in the second stage. ``"cubic"`` for
            small, nearly isotropic volumes: convolution and max pooling 3x3x3, both with stride 2.
            ``"medicalnet"`` for MedicalNet's weights, in the geometry that they were trained in:
            convolution 7x7x7 and max pooling 3x3x3, both with stride 2; the last two stages keep
            the map's size and dilate their convolutions by 2 and 4. ``"medicalnet_strided"`` for
            the same weights where all stages after the first halve the map, as MONAI uses them:
            the last map is a 64th, the field of view about the same.
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
        The stem ``"paper"`` is that of the image encoder of SeLIP (arXiv 2503.19801),
        ``"medicalnet"`` of Med3D (arXiv 1904.00625). Shortcuts are convolutions, but for depths 18
        and 34 with MedicalNet's stems: those were trained with zero-padded shortcuts. There and in
        MONAI such a shortcut passes no gradient; here it does.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: PoolingChoice = "avg",
        stem: str = "paper",
        stages: int = 4,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim)
        _check_options(depth, stem, stages, width)
        self.embed_dim = embed_dim
        self.stem = stem
        self.same_stems = same_stems(stem, stages)
        self._stages = stages
        self.network = build_network(depth, in_channels, STEMS[stem], stages, width)
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
        self.check_input(x)
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
    at_width(PLANES[0], width)  # every later stage has more


def _describe(
    depth: int, in_channels: int, stem: Stem, stages: int, width: float
) -> ImageEncoderSpec:
    planes = [at_width(channels, width) for channels in PLANES[:stages]]
    expansion = 4 if depth >= 50 else 1
    later = [(by, by, by) for by in stem.stage_strides[1:stages]]
    strides = strides_of([stem.stride, stem.pool_stride, *later])
    return ImageEncoderSpec(
        in_channels=in_channels,
        stage_channels=(planes[0], *(expansion * channels for channels in planes)),
        stage_strides=strides,
        minimum_size=half_a_voxel(strides[-1]),
    )


for _depth in DEPTHS:
    _weights = ("medicalnet", "brainiac") if _depth == 50 else ("medicalnet",)
    register_image_encoder(f"resnet{_depth}", _weights)(partial(ResNetEncoder, _depth))
