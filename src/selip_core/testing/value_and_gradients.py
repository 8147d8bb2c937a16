"""A loss of a batch, and its gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.precision import accumulation_dtype


class ValueAndGradients(NamedTuple):
    """A loss, and its gradient in what it was given.

    Attributes:
        loss: The value.
        image_features: Gradient, of the features' type.
        text_features: Gradient, of the features' type.
        logit_scale: Gradient.
    """

    loss: Float[Tensor, ""]
    image_features: Float[Tensor, "n d"]
    text_features: Float[Tensor, "n d"]
    logit_scale: Float[Tensor, ""]


def value_and_gradients(
    loss_fn: Callable[..., Tensor],
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    **options: Any,
) -> ValueAndGradients:
    """Call a loss on fresh leaves and differentiate it.

    Args:
        loss_fn: Called as :func:`~selip_core.losses.similarity_clip_loss` is.
        image_features: One image a row.
        text_features: The text of each image.
        logit_scale: The multiplier of the products; a number becomes a scalar in the type that
            sums are computed in.
        options: Further arguments of ``loss_fn``, such as ``target``.

    Example:
        >>> from selip_core.testing import oracle_loss
        >>> result = value_and_gradients(oracle_loss, torch.eye(2), torch.eye(2), 0.0)
        >>> f"{result.loss:.4f}", result.image_features.norm().item(), result.logit_scale.item()
        ('0.6931', 0.0, -0.5)
    """
    dtype = accumulation_dtype(image_features.dtype)
    if not isinstance(logit_scale, Tensor):
        logit_scale = torch.tensor(logit_scale, dtype=dtype, device=image_features.device)
    given = (image_features, text_features, logit_scale)
    leaves = [tensor.detach().clone().requires_grad_() for tensor in given]
    loss = loss_fn(*leaves, **options)
    return ValueAndGradients(loss.detach(), *torch.autograd.grad(loss, leaves))
