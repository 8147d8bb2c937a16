"""The generalised mean of the whole map: between its mean and its maximum."""

import math
from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

SMALLEST = 1e-6
"""What a value below it counts as: a logarithm needs a positive number."""


@final
class GeMPooling(nn.Module):
    """``mean(x ** p) ** (1 / p)`` of each channel, then a linear layer; the power p is learned.

    Power 1 is the mean, and the larger the power the nearer to the maximum: a lesion of a few
    voxels is not averaged away. Negative values count as nothing. Forgets where a feature was.

    Args:
        channels: Channels of the feature map.
        embed_dim: Length of the embedding.
        power: The power at the start, above 1. It is the same for all channels and stays above 1.

    Raises:
        ValueError: If the power is not above 1.

    Example:
        >>> import torch
        >>> pooling = GeMPooling(channels=8, embed_dim=4)
        >>> pooling(torch.zeros(2, 8, 3, 5, 5)).shape
        torch.Size([2, 4])
        >>> round(pooling.power.item(), 4)
        3.0

    Source:
        Radenovic, Tolias, Chum: Fine-tuning CNN image retrieval with no human annotation
        (arXiv 1711.02512), equation 3.
    """

    def __init__(self, channels: int, embed_dim: int, power: float = 3.0) -> None:
        super().__init__()
        if not 1 < power < math.inf:
            raise ValueError(f"power must be above 1 and finite, got {power}")
        # The inverse of softplus: without a clamp the gradient of the power never ends.
        excess = power - 1
        self.raw_power = nn.Parameter(torch.tensor([excess + math.log(-math.expm1(-excess))]))
        self.projection = nn.Linear(channels, embed_dim)

    @property
    def power(self) -> Float[Tensor, "1"]:
        """The power p, above 1."""
        return 1 + functional.softplus(self.raw_power.float())

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a map."""
        # By logarithms, and not below float32: x ** p leaves the range of every precision.
        values = x.to(torch.promote_types(x.dtype, torch.float32)).clamp(min=SMALLEST)
        logarithms = rearrange(values, "b c d h w -> b c (d h w)").log()
        sums = torch.logsumexp(self.power * logarithms, dim=-1)
        means = ((sums - math.log(logarithms.shape[-1])) / self.power).exp()
        return self.projection(means.to(self.projection.weight.dtype))  # type: ignore[no-any-return]
