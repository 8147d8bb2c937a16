"""2D networks on every slice, with attention between slices."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, cast, final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.input_checks import require_several_values
from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import require_counts
from selip_core.encoders.pooling import PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.slice_attention import SliceAttention
from selip_core.encoders.spec import ImageEncoderSpec
from selip_core.encoders.timm_network import (
    TimmModel,
    channels_first,
    network_stages,
    require_maps_as_described,
)
from selip_core.encoders.timm_weights import published_timm_weights, read_timm_weights

BY_NAME = {
    "slicewise_resnet50": "resnet50",
    "slicewise_convnext_tiny": "convnext_tiny",
    "slicewise_vit_small": "vit_small_patch16_224",
}


@final
class SliceEncoder(ImageEncoder):
    """Any 2D network of timm on every slice: maps of full depth; the last is pooled.

    For thick slices, between which a 3D convolution finds little, and for weights of 2D images. In
    the coarsest map, the slices attend to each other before the pooling.

    Args:
        model: Name of a model in timm, such as ``"resnet18"``; transformers with a fixed image size
            are made to take any. The registered name ``slicewise`` takes it as an option.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`.
        attention_layers: Transformer layers between slices; 0 leaves each slice alone.
        attention_heads: Their heads; must divide the channels of the coarsest map.
        slices_at_once: How many slices go through the network at a time; all if ``None``. With
            ``gradient_checkpointing`` it bounds the memory also in training. Batch normalisation
            then takes its statistics from as many slices.
        model_options: More arguments of ``timm.create_model`` that tell of the network, such as
            ``{"drop_path_rate": 0.1}``, or ``drop_rate`` and ``proj_drop_rate`` for dropout; where
            weights are is not for them to say.

    Raises:
        ImportError: If timm or torchvision is missing; the message tells what to install.
        ValueError: If timm has no such model or no such option, if it gives no maps of the model or
            others than it describes, if the model takes one image size only, if an option is out of
            its range, or if the heads do not divide the channels.

    Example:
        >>> import torch
        >>> encoder = SliceEncoder("test_resnet", embed_dim=64)
        >>> encoder(torch.zeros(2, 1, 5, 64, 96)).shape
        torch.Size([2, 64])
        >>> encoder.spec.stage_strides[-1]
        (1, 32, 32)
    """

    def __init__(
        self,
        model: str = "resnet18",
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: PoolingChoice = "avg",
        attention_layers: int = 1,
        attention_heads: int = 8,
        slices_at_once: int | None = None,
        model_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim)
        if slices_at_once is not None and slices_at_once < 1:
            raise ValueError(f"slices_at_once must be 1 or more, or None, got {slices_at_once}")
        if attention_layers < 0:
            raise ValueError(f"attention_layers must be 0 or more, got {attention_layers}")
        self.embed_dim = embed_dim
        self.slices_at_once = slices_at_once
        self._model = TimmModel(model, in_channels, model_options or {})
        self.network = self._model.create()
        require_maps_as_described(model, self.network, in_channels)
        spec = _describe(self.network, in_channels)
        channels = spec.stage_channels[-1]
        self.slice_attention = (
            SliceAttention(channels, attention_layers, attention_heads)
            if attention_layers
            else nn.Identity()
        )
        self.pooling = create_pooling(pooling, channels, embed_dim)
        self.spec = spec.count_parameters(self)

    def load_timm_weights(
        self, file: str | os.PathLike[str] | None = None, classes: int | None = None
    ) -> Self:
        """Take weights of this model in timm, by timm's own loading; all but the classifier.

        Weights for colour images are summed over the colours if there is one input channel. What
        is known of them stands in ``spec``, and goes onto the model card.

        Args:
            file: File of safetensors, such as ``selip convert-weights`` makes. Without one, what
                timm publishes under the model's name is downloaded, its licence told in ``spec``.
            classes: Outputs of the classifier in the file, 0 if there is none; by default as many
                as in the published weights.

        Raises:
            ValueError: If the file is not of safetensors, if timm publishes none, if it does not
                fit, or if its values are such as no trained network has; nothing is loaded then.
            OSError: If there is no such file, or if the hub cannot be reached.
        """
        model = self._model
        weights = (
            published_timm_weights(model) if file is None else read_timm_weights(model, Path(file))
        )
        trained = weights.load(model, classes).state_dict()
        weights.require_usable(self, trained)
        self.network.load_state_dict(trained)
        self.spec = replace(self.spec, weights=weights.source, intensity=weights.intensity)
        return self

    def stages(self) -> list[list[nn.Module]]:
        """Return the parts of the 2D network up to each map, and the attention between slices."""
        between: list[nn.Module] = [self.slice_attention]
        return [*network_stages(self.network), between]

    def check_input(self, x: Tensor) -> None:
        """Refuse what the encoder cannot take, the last of the slices at once too.

        Raises:
            ValueError: As that of any encoder, or if batch normalisation is to be trained on one
                value because of ``slices_at_once``.
        """
        super().check_input(x)
        slices = len(x) * x.shape[2]
        if self.slices_at_once is None or slices <= self.slices_at_once:
            return
        last = slices % self.slices_at_once or self.slices_at_once
        _, height, width = self.spec.stage_sizes((1, x.shape[3], x.shape[4]))[-1]
        require_several_values(
            self,
            last * height * width,
            self._name_in_errors,
            alone=f"one slice, the last of {slices} by slices_at_once={self.slices_at_once},",
            remedy="choose slices_at_once such that more slices are left for the last time, or "
            "give larger ones",
        )

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c d stage_h stage_w"]]:
        """Return the maps of the 2D network, as deep as the volume."""
        self.check_input(x)
        slices = rearrange(x, "b c d h w -> (b d) c h w")
        chunks = torch.split(slices, self.slices_at_once or len(slices))
        pyramids = [self._run_network(chunk) for chunk in chunks]
        *finer, coarsest = (
            rearrange(torch.cat(parts), "(b d) c h w -> b c d h w", d=x.shape[2])
            for parts in zip(*pyramids, strict=True)
        )
        return [*finer, self.run_stage(self.slice_attention, coarsest)]

    def _run_network(self, slices: Tensor) -> list[Tensor]:
        # The whole network is one stage: timm's own code runs it.
        maps = cast(list[Tensor], self.run_stage(self.network, slices))
        return channels_first(self.network, maps)


def _describe(network: Any, in_channels: int) -> ImageEncoderSpec:
    information = network.feature_info
    strides = information.reduction()
    # Some networks round sizes up, others down: multiples of the coarsest stride suit all.
    return ImageEncoderSpec(
        in_channels=in_channels,
        stage_channels=tuple(information.channels()),
        stage_strides=tuple((1, stride, stride) for stride in strides),
        minimum_size=(1, strides[-1], strides[-1]),
        divisor=(1, strides[-1], strides[-1]),
    )


register_image_encoder("slicewise", weights=("timm",))(SliceEncoder)
for _name, _model in BY_NAME.items():
    register_image_encoder(_name, weights=("timm",))(partial(SliceEncoder, _model))
