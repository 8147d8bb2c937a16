"""The class token of a transformer."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn


@final
class ClassTokenPooling(nn.Module):
    """A linear layer on the class token, which a transformer hands over instead of its map.

    Args:
        channels: Length of the token.
        embed_dim: Length of the embedding.

    Example:
        >>> import torch
        >>> ClassTokenPooling(channels=8, embed_dim=4)(torch.zeros(2, 8)).shape
        torch.Size([2, 4])
    """

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, embed_dim)

    def forward(self, token: Float[Tensor, "b c"]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a token."""
        return self.projection(token)  # type: ignore[no-any-return]
