"""The interface of every image encoder."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.input_checks import require_floats, require_several_values
from selip_core.encoders.options import is_whole
from selip_core.encoders.recomputation import recomputed
from selip_core.encoders.settings import ImageEncoderSettings
from selip_core.encoders.spec import ImageEncoderSpec
from selip_core.pretrained import PretrainedModule


class ImageEncoder(PretrainedModule, abc.ABC):
    """Volumes to embeddings, and to the feature pyramid that segmentation decoders need.

    Volumes are float tensors ``(batch, channel, depth, height, width)``: depth runs inferior to
    superior, height posterior to anterior, width left to right.

    A new encoder sets the attributes below and defines :meth:`stages` and
    :meth:`forward_features`, which runs its parts by :meth:`run_stage`.

    Attributes:
        spec: What the encoder takes, and the maps it gives.
        embed_dim: Length of an embedding.
        pooling: From the coarsest map to the embedding.
        settings: What made it, if it was made by name: enough to make it again.
        gradient_checkpointing: Keep no activation inside a stage during training, and compute them
            again in the backward pass: less memory for a third more time.
    """

    spec: ImageEncoderSpec
    embed_dim: int
    pooling: nn.Module
    settings: ImageEncoderSettings | None = None
    gradient_checkpointing: bool = False
    _frozen_stages: int = 0

    @abc.abstractmethod
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the parts of the network from the input on, grouped by stage, without the pooling.

        Together they hold every parameter but those of the pooling, each once.
        """

    @abc.abstractmethod
    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the maps that ``spec`` describes, finest to coarsest.

        Raises:
            ValueError: If the shape of ``x`` is not one that ``spec`` allows.
        """

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a volume, not normalised.

        Raises:
            ValueError: If the shape of ``x`` is not one that ``spec`` allows.
        """
        return self.pooling(self.forward_features(x)[-1])  # type: ignore[no-any-return]

    def check_input(self, x: Tensor) -> None:
        """Refuse what the encoder cannot take: what :meth:`forward_features` does first.

        Raises:
            ValueError: If ``x`` is no tensor of floats, if its shape is not one that ``spec``
                allows, or if batch normalisation is to be trained on one value.
        """
        require_floats(self, x)
        self.spec.check_input(x)
        depth, height, width = x.shape[2:]
        coarsest = self.spec.stage_sizes((depth, height, width))[-1]
        require_several_values(self, len(x) * math.prod(coarsest), self._name_in_errors)

    @property
    def _name_in_errors(self) -> str:
        return self.settings.name if self.settings else type(self).__name__

    def freeze(self, stages: int) -> Self:
        """Keep the first stages as they are: no gradient, and evaluation mode also in training.

        All later stages are set free, those too that were frozen in another way: freeze what else
        shall stay, such as the pooling, after this.

        Args:
            stages: How many of :meth:`stages`, counted from the input; 0 sets all free.

        Raises:
            ValueError: If there are not so many stages.
        """
        groups = self.stages()
        if not is_whole(stages) or not 0 <= stages <= len(groups):
            raise ValueError(
                f"stages must be a whole number from 0 to {len(groups)}, got {stages!r}"
            )
        for index, group in enumerate(groups):
            for module in group:
                module.requires_grad_(index >= stages)
        self._frozen_stages = stages
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        for group in self.stages()[: self._frozen_stages]:
            for module in group:
                module.eval()
        return self

    def run_stage(self, stage: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return ``stage(x)``; with gradient checkpointing, without keeping what is inside it."""
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return recomputed(stage, x, owner=self)
        return stage(x)
