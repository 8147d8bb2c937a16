"""Both encoders and the scale of their logits."""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from selip_core.pretrained import PretrainedModule
from selip_core.pretrained.kinds import find_kind
from selip_core.pretrained.sharded import full_tensor, own_shard, require_present


class DualEncoderOutput(NamedTuple):
    """What a contrastive loss takes, in its order.

    Attributes:
        image_features: Unit-norm embeddings of the images, at least float32.
        text_features: Unit-norm embeddings of the texts, at least float32.
        logit_scale: The multiplier of their cosines, not its logarithm.
    """

    image_features: Float[Tensor, "b d"]
    text_features: Float[Tensor, "b d"]
    logit_scale: Float[Tensor, ""]


class DualEncoder(PretrainedModule):
    """Images and texts to unit-norm features of one space, with a learnable logit scale.

    Args:
        image_encoder: Any module from images to ``(b, embed_dim)``.
        text_encoder: Any module from what is given as texts to ``(b, embed_dim)``.
        initial_logit_scale: The multiplier at the start, in ``[1, maximum_logit_scale]``.
        maximum_logit_scale: Where :meth:`clamp_logit_scale_` stops the multiplier.

    Raises:
        ValueError: If a text encoder of this library stands where images are encoded, or an image
            or study encoder where texts are; if the encoders tell different ``embed_dim``; or if
            the initial scale is outside its range.

    Example:
        >>> import torch
        >>> model = DualEncoder(torch.nn.Linear(6, 4), torch.nn.Linear(5, 4))
        >>> image_features, text_features, logit_scale = model(torch.ones(3, 6), torch.ones(3, 5))
        >>> torch.allclose(image_features.norm(dim=1), torch.ones(3))
        True
        >>> round(logit_scale.item(), 2)
        14.29

    Source:
        CLIP (arXiv 2103.00020), section 2.5: the scale is learned as its logarithm, starts at
        1 / 0.07 and is kept from exceeding 100.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        text_encoder: nn.Module,
        initial_logit_scale: float = 1 / 0.07,
        maximum_logit_scale: float = 100.0,
    ) -> None:
        super().__init__()
        _check_order(image_encoder, text_encoder)
        _check_embed_dims(image_encoder, text_encoder)
        if not 1 <= initial_logit_scale <= maximum_logit_scale:
            raise ValueError(
                "initial_logit_scale must be between 1 and maximum_logit_scale "
                f"({maximum_logit_scale:g}), got {initial_logit_scale:g}"
            )
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.maximum_logit_scale = maximum_logit_scale
        # One element in one dimension: fully_shard refuses parameters without dimensions.
        self.log_logit_scale = nn.Parameter(torch.tensor([math.log(initial_logit_scale)]))

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """The multiplier of the cosines, ``exp(log_logit_scale)``, without dimensions.

        In a model sharded by ``fully_shard`` one rank holds it between two steps. Reading it there
        is a collective, which every rank has to call.
        """
        if not torch.compiler.is_compiling():
            require_present(self.log_logit_scale, 1, "log_logit_scale")
        return full_tensor(self.log_logit_scale).reshape(()).exp()

    def encode_image(self, images: Any) -> Float[Tensor, "b d"]:
        """Return unit-norm embeddings of what the image encoder takes."""
        return unit_norm(self.image_encoder(images))

    def encode_text(self, texts: Any) -> Float[Tensor, "b d"]:
        """Return unit-norm embeddings of what the text encoder takes."""
        return unit_norm(self.text_encoder(texts))

    def forward(self, images: Any, texts: Any) -> DualEncoderOutput:
        """Return both features and the scale: the first arguments of the loss."""
        return DualEncoderOutput(
            self.encode_image(images), self.encode_text(texts), self.logit_scale
        )

    @torch.no_grad()
    def clamp_logit_scale_(self) -> None:
        """Bring the scale back into ``[1, maximum_logit_scale]``, after each optimiser step."""
        parameter = self.log_logit_scale
        require_present(parameter, parameter.numel(), "log_logit_scale")
        own_shard(parameter).clamp_(0, math.log(self.maximum_logit_scale))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        # Earlier versions wrote the logarithm without dimensions.
        name = f"{prefix}log_logit_scale"
        if name in state_dict and state_dict[name].ndim == 0:
            state_dict[name] = state_dict[name].reshape(1)
        super()._load_from_state_dict(state_dict, prefix, *others)


def unit_norm(features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    """Rows of length 1, at least float32."""
    # Under autocast the features come in half precision, whose squares are too coarse for a norm.
    return normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def _check_order(image_encoder: nn.Module, text_encoder: nn.Module) -> None:
    given = f"got {type(image_encoder).__name__} and {type(text_encoder).__name__}"
    if _is(image_encoder, "text_encoder"):
        raise ValueError(f"the image encoder comes first, and encodes no texts, {given}")
    if _is(text_encoder, "image_encoder", "study_encoder"):
        raise ValueError(f"the text encoder comes second, and encodes no images, {given}")


def _is(encoder: nn.Module, *names: str) -> bool:
    """Whether a module is of one of these kinds; those that nobody imported are not registered."""
    kinds = [kind for kind in map(find_kind, names) if kind is not None]
    return isinstance(encoder, tuple(kind.module for kind in kinds))


def _check_embed_dims(image_encoder: nn.Module, text_encoder: nn.Module) -> None:
    image, text = (getattr(encoder, "embed_dim", None) for encoder in (image_encoder, text_encoder))
    if image is not None and text is not None and image != text:
        raise ValueError(
            f"both encoders must have the same embed_dim, got {image} for images and {text} for "
            "texts: create them with the same embed_dim"
        )
