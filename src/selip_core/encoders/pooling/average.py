"""The mean of the whole map."""

from typing import final

from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn


@final
class AveragePooling(nn.Module):
    """Global average, then a linear layer. Forgets where in the volume a feature was.

    Args:
        channels: Channels of the feature map.
        embed_dim: Length of the embedding.

    Example:
        >>> import torch
        >>> AveragePooling(channels=8, embed_dim=4)(torch.zeros(2, 8, 3, 5, 5)).shape
        torch.Size([2, 4])
    """

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, embed_dim)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a map."""
        averages = reduce(x, "b c d h w -> b c", "mean")
        return self.projection(averages)  # type: ignore[no-any-return]
