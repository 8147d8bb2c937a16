"""The 3D ResNet with squeeze and excitation, on MONAI's implementation."""

from functools import partial
from typing import TYPE_CHECKING, final

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import along_axes, require_counts
from selip_core.encoders.pooling import PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.sequence import run_stages
from selip_core.encoders.spec import ImageEncoderSpec, Size
from selip_core.encoders.strides import HALVED, half_a_voxel, strides_of

if TYPE_CHECKING:
    from monai.networks.nets.senet import SENet

DEPTHS = (50, 101, 152)
CHANNELS = (64, 256, 512, 1024, 2048)


@final
class SEResNetEncoder(ImageEncoder):
    """A 3D SE-ResNet: the first convolution's map and one a stage; the last is pooled.

    Each channel of a block is weighted by what the whole map holds (squeeze and excitation).

    Args:
        depth: Layers: 50, 101 or 152.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`.
        stem_stride: Stride of the first convolution, and of the max pooling after it, along each
            axis or for all; (1, 2, 2) keeps few thick slices. Later stages always halve all axes.
        stages: How many of the four stages to keep; with fewer, the last map is finer.

    Raises:
        ValueError: If the depth is unknown, if there are not so many stages, or if an option is out
            of its range.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     encoder = SEResNetEncoder(50, stem_stride=(1, 2, 2))
        ...     maps = encoder.forward_features(torch.zeros(1, 1, 9, 65, 64))
        >>> [tuple(x.shape[1:]) for x in maps][-2:]
        [(1024, 3, 5, 4), (2048, 2, 3, 2)]

    Source:
        Hu et al. 2018 (arXiv 1709.01507). The max pooling pads both sides, as a ResNet's does, so
        that every size has the maps of its spec; MONAI's pads none.
    """

    network: "SENet"

    def __init__(
        self,
        depth: int,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: PoolingChoice = "avg",
        stem_stride: int | Size = 2,
        stages: int = 4,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim)
        if depth not in DEPTHS:
            raise ValueError(f"depth must be one of {DEPTHS}, got {depth}")
        if stages not in range(1, len(CHANNELS)):
            raise ValueError(f"stages must be 1, 2, 3 or 4, got {stages}")
        stem_stride = along_axes("stem_stride", stem_stride)
        self.embed_dim = embed_dim
        self._stages = stages
        self.network = _build_network(depth, in_channels, stem_stride, stages)
        self.pooling = create_pooling(pooling, CHANNELS[stages], embed_dim)
        strides = strides_of([stem_stride, stem_stride, *[HALVED] * (stages - 1)])
        spec = ImageEncoderSpec(
            in_channels=in_channels,
            stage_channels=CHANNELS[: stages + 1],
            stage_strides=strides,
            minimum_size=half_a_voxel(strides[-1]),
        )
        self.spec = spec.count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the first convolution and the stages that are kept."""
        *stem, pool = self.network.layer0
        later = [self.network.get_submodule(f"layer{n}") for n in range(2, self._stages + 1)]
        return [stem, [pool, self.network.layer1], *([stage] for stage in later)]

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the first convolution's map before its pooling and the map of every stage."""
        return run_stages(self, x)


def _build_network(depth: int, in_channels: int, stem_stride: Size, stages: int) -> "SENet":
    from monai.networks.nets import senet

    network: SENet = getattr(senet, f"SEResNet{depth}")(
        spatial_dims=3, in_channels=in_channels, num_classes=1
    )
    del network.last_linear
    stem: nn.Conv3d = network.layer0[0]  # type: ignore[assignment]
    stem.stride = stem_stride
    for unused in range(stages + 1, len(CHANNELS)):
        delattr(network, f"layer{unused}")
    network.layer0.pool = nn.MaxPool3d(kernel_size=3, stride=stem_stride, padding=1)
    return network


for _depth in DEPTHS:
    register_image_encoder(f"seresnet{_depth}")(partial(SEResNetEncoder, _depth))
