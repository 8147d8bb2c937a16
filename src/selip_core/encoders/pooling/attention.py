"""Attention over the voxels of the map, which know where they are."""

import math
from typing import final

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.options import require_counts

FREQUENCIES = 4
"""Half waves along an axis go from one to this many: a quarter of the head can be told."""


@final
class AttentionPooling(nn.Module):
    """Attention by learned queries, then a linear layer over all heads: keeps position.

    A voxel of the map is normalised over its channels, and an embedding of its place is added, so
    that a head can look for a feature, at a place, and tells where it found it. The place is
    relative to the volume, in ``(0, 1)`` along each axis, told by sine and cosine waves and a
    linear layer. So maps of any size fit, few thick slices as well as cubes, and a place is the
    same part of the head wherever volumes are placed alike.

    Since the query is no function of the map, query and key are one vector a head, and value and
    output one linear layer: attention without a redundant parameter.

    Args:
        channels: Channels of the feature map.
        embed_dim: Length of the embedding.
        heads: Queries. The linear layer has ``heads * channels * embed_dim`` weights.

    Raises:
        ValueError: If there is no head.

    Example:
        >>> import torch
        >>> AttentionPooling(channels=8, embed_dim=4)(torch.zeros(2, 8, 3, 5, 5)).shape
        torch.Size([2, 4])
    """

    def __init__(self, channels: int, embed_dim: int, heads: int = 8) -> None:
        super().__init__()
        require_counts(heads=heads)
        self.norm = nn.LayerNorm(channels)
        self.position = nn.Linear(3 * 2 * FREQUENCIES, channels, bias=False)
        self.query = nn.Linear(channels, heads, bias=False)
        self.projection = nn.Linear(heads * channels, embed_dim)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a map."""
        voxels = self.norm(rearrange(x, "b c d h w -> b d h w c"))
        voxels = voxels + self.position(position_waves(voxels))
        voxels = rearrange(voxels, "b d h w c -> b (d h w) c")
        weights = self.query(voxels).softmax(dim=1)
        heads = einsum(weights, voxels, "b voxel head, b voxel c -> b head c")
        return self.projection(rearrange(heads, "b head c -> b (head c)"))  # type: ignore[no-any-return]


def position_waves(voxels: Float[Tensor, "b d h w c"]) -> Float[Tensor, "d h w waves"]:
    """Return sines and cosines of the place of each voxel along each axis.

    Example:
        >>> import torch
        >>> waves = position_waves(torch.zeros(1, 1, 1, 2, 5))[0, 0]
        >>> waves.shape
        torch.Size([2, 24])
    """
    size = voxels.shape[1:4]
    axes = [(torch.arange(n, device=voxels.device) + 0.5) / n for n in size]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    half_waves = math.pi * torch.arange(1, FREQUENCIES + 1, device=voxels.device)
    angles = rearrange(places.unsqueeze(-1) * half_waves, "d h w place k -> d h w (place k)")
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(voxels.dtype)
