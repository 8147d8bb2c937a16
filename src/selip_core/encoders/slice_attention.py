"""Attention between the slices of a map."""

from typing import final

from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.pooling.attention import FREQUENCIES, position_waves
from selip_core.encoders.transformer import transformer


@final
class SliceAttention(nn.Module):
    """Tell every slice of a map what the others show.

    The mean of each slice, and where it lies in the volume, go through transformer layers; what
    comes out is added to all voxels of the slice. Any number of slices fits.

    Args:
        channels: Channels of the map.
        layers: Transformer layers.
        heads: Attention heads; must divide the channels.

    Example:
        >>> import torch
        >>> SliceAttention(channels=8, heads=2)(torch.zeros(2, 8, 5, 3, 3)).shape
        torch.Size([2, 8, 5, 3, 3])
    """

    def __init__(self, channels: int, layers: int = 1, heads: int = 8) -> None:
        super().__init__()
        self.position = nn.Linear(3 * 2 * FREQUENCIES, channels, bias=False)
        self.attention = transformer(channels, layers, heads)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:
        """Return the map with what all slices show added to each."""
        slices = reduce(x, "b c d h w -> b d 1 1 c", "mean")
        slices = slices + self.position(position_waves(slices))
        seen = self.attention(rearrange(slices, "b d 1 1 c -> b d c"))
        seen_everywhere: Tensor = rearrange(seen, "b d c -> b c d 1 1")
        return x + seen_everywhere
