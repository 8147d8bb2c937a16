"""Transformer layers over a few embeddings."""

from torch import nn


def transformer(channels: int, layers: int, heads: int) -> nn.TransformerEncoder:
    """Return pre-norm layers without dropout, and a normalisation at their end.

    Raises:
        ValueError: If there is no layer, or if the heads do not divide the channels.

    Example:
        >>> import torch
        >>> transformer(channels=8, layers=2, heads=4)(torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """
    if layers < 1:
        raise ValueError(f"layers must be 1 or more, got {layers}")
    if heads < 1 or channels % heads:
        raise ValueError(f"heads must divide the {channels} channels, got {heads}")
    layer = nn.TransformerEncoderLayer(
        channels,
        heads,
        4 * channels,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    return nn.TransformerEncoder(
        layer, layers, norm=nn.LayerNorm(channels), enable_nested_tensor=False
    )
