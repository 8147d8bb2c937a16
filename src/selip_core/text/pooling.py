"""From the hidden states of a text's tokens to one vector."""

from collections.abc import Callable

from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

TokenPooling = Callable[[Float[Tensor, "b t h"], Int[Tensor, "b t"]], Float[Tensor, "b h"]]


def cls_pooling(hidden: Float[Tensor, "b t h"], mask: Int[Tensor, "b t"]) -> Float[Tensor, "b h"]:
    """Return the state of the first token."""
    return hidden[:, 0]


def mean_pooling(hidden: Float[Tensor, "b t h"], mask: Int[Tensor, "b t"]) -> Float[Tensor, "b h"]:
    """Return the mean state over the tokens whose mask is 1; padding does not count.

    Example:
        >>> import torch
        >>> mean_pooling(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
        tensor([[2.]])
    """
    # The weights are float32, so half-precision states are summed in float32.
    weights = mask.float() / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return reduce(hidden * weights.unsqueeze(-1), "b t h -> b h", "sum").to(hidden.dtype)


TOKEN_POOLINGS: dict[str, TokenPooling] = {"cls": cls_pooling, "mean": mean_pooling}
