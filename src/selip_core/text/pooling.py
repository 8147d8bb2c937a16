"""From the hidden states of a text's tokens to one vector."""

from collections.abc import Callable

import torch
from einops import reduce
from jaxtyping import Float, Int, Shaped
from torch import Tensor

TokenPooling = Callable[[Float[Tensor, "b t h"], Shaped[Tensor, "b t"]], Float[Tensor, "b h"]]


def cls_pooling(
    hidden: Float[Tensor, "b t h"], weights: Shaped[Tensor, "b t"]
) -> Float[Tensor, "b h"]:
    """Return the state of the first token whose weight is not 0.

    Example:
        >>> import torch
        >>> cls_pooling(torch.tensor([[[9.0], [3.0], [1.0]]]), torch.tensor([[0, 1, 1]]))
        tensor([[3.]])
    """
    return _state_at(hidden, (weights > 0).int().argmax(dim=1))


def last_pooling(
    hidden: Float[Tensor, "b t h"], weights: Shaped[Tensor, "b t"]
) -> Float[Tensor, "b h"]:
    """Return the state of the last token whose weight is not 0; padding may stand on either side.

    Example:
        >>> import torch
        >>> last_pooling(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
        tensor([[3.]])
    """
    from_the_end = (weights > 0).flip(dims=[1]).int().argmax(dim=1)
    return _state_at(hidden, hidden.shape[1] - 1 - from_the_end)


def mean_pooling(
    hidden: Float[Tensor, "b t h"], weights: Shaped[Tensor, "b t"]
) -> Float[Tensor, "b h"]:
    """Return the weighted mean state; padding, whose weight is 0, does not count.

    Example:
        >>> import torch
        >>> mean_pooling(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
        tensor([[2.]])
    """
    # The shares are float32, so half-precision states are summed in float32.
    shares = weights.float() / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
    return reduce(hidden * shares.unsqueeze(-1), "b t h -> b h", "sum").to(hidden.dtype)


def _state_at(hidden: Float[Tensor, "b t h"], token: Int[Tensor, "b"]) -> Float[Tensor, "b h"]:
    return hidden[torch.arange(len(hidden), device=hidden.device), token]


TOKEN_POOLINGS: dict[str, TokenPooling] = {
    "cls": cls_pooling,
    "mean": mean_pooling,
    "last": last_pooling,
}
