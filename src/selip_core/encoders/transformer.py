"""Transformer layers over a few embeddings."""

from torch import nn

from selip_core.encoders.options import require_counts


def transformer(channels: int, layers: int, heads: int) -> nn.TransformerEncoder:
    """Return pre-norm layers without dropout, and a normalisation at their end.

    Raises:
        ValueError: If there is no layer, or if the heads do not divide the channels.

    Example:
        >>> import torch
        >>> transformer(channels=8, layers=2, heads=4)(torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """
    require_counts(layers=layers, heads=heads)
    if channels % heads:
        raise ValueError(f"heads must divide the {channels} channels, got {heads}")
    # nn.TransformerEncoder copies one layer with its weights; each here draws its own.
    own = [_layer(channels, heads) for _ in range(layers)]
    stack = nn.TransformerEncoder(
        own[0], layers, norm=nn.LayerNorm(channels), enable_nested_tensor=False
    )
    stack.layers = nn.ModuleList(own)
    return stack


def _layer(channels: int, heads: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        channels,
        heads,
        4 * channels,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
