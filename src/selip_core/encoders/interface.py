"""The interface of every image encoder."""

import abc

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.spec import ImageEncoderSpec


class ImageEncoder(nn.Module, abc.ABC):
    """Volumes to embeddings, and to the feature pyramid that segmentation decoders need.

    Volumes are float tensors ``(batch, channel, depth, height, width)``: depth runs inferior to
    superior, height posterior to anterior, width left to right.

    Attributes:
        spec: Shapes of the input and of the pyramid.
        embed_dim: Length of an embedding.
    """

    spec: ImageEncoderSpec
    embed_dim: int

    @abc.abstractmethod
    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a volume, not normalised.

        Raises:
            ValueError: If the shape of ``x`` is not one that ``spec`` allows.
        """

    @abc.abstractmethod
    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the maps that ``spec`` describes, finest to coarsest.

        Raises:
            ValueError: If the shape of ``x`` is not one that ``spec`` allows.
        """
