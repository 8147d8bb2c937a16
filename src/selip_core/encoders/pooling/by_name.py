"""Poolings by name."""

from collections.abc import Callable

from torch import nn

from selip_core.encoders.pooling.attention import AttentionPooling
from selip_core.encoders.pooling.average import AveragePooling
from selip_core.encoders.pooling.class_token import ClassTokenPooling
from selip_core.encoders.pooling.gem import GeMPooling
from selip_core.encoders.pooling.grid import GridPooling

PoolingFactory = Callable[[int, int], nn.Module]
"""Makes a pooling from the channels of the map and the length of the embedding."""

POOLINGS: dict[str, PoolingFactory] = {
    "attention": AttentionPooling,
    "avg": AveragePooling,
    "cls": ClassTokenPooling,
    "gem": GeMPooling,
    "grid": GridPooling,
}


def create_pooling(
    pooling: str | PoolingFactory, channels: int, embed_dim: int, class_token: bool = False
) -> nn.Module:
    """Return the pooling of this name, or what the given factory makes.

    Args:
        pooling: One of ``POOLINGS``, or a function of (channels, embed_dim) that returns a module.
        channels: Channels of the map, and length of the class token.
        embed_dim: Length of the embedding.
        class_token: Whether the encoder has a class token. One that has it defines its own
            ``forward``, which hands the token to a :class:`ClassTokenPooling` and the coarsest map
            to any other pooling.

    Raises:
        ValueError: If no pooling has this name, or if it needs a class token that is not there.

    Example:
        >>> create_pooling("avg", channels=8, embed_dim=4)
        AveragePooling(
          (projection): Linear(in_features=8, out_features=4, bias=True)
        )
    """
    offered = sorted(name for name in POOLINGS if class_token or name != "cls")
    if pooling in ("cls", ClassTokenPooling) and not class_token:
        raise ValueError(
            f"pooling 'cls' needs a class token, which this encoder has not; choose from {offered}"
        )
    if isinstance(pooling, str):
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {offered}, got {pooling!r}")
        pooling = POOLINGS[pooling]
    return pooling(channels, embed_dim)
