"""Poolings by name."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from selip_core.encoders.arguments import require_arguments
from selip_core.encoders.pooling.attention import AttentionPooling
from selip_core.encoders.pooling.average import AveragePooling
from selip_core.encoders.pooling.class_token import ClassTokenPooling
from selip_core.encoders.pooling.gem import GeMPooling
from selip_core.encoders.pooling.grid import GridPooling

PoolingFactory = Callable[[int, int], nn.Module]
"""Makes a pooling from the channels of the map and the length of the embedding."""

PoolingChoice = str | tuple[str, Mapping[str, Any]] | PoolingFactory
"""A name, a name and options such as ``("grid", {"grid": (2, 4, 4)})``, or a factory."""

POOLINGS: dict[str, Callable[..., nn.Module]] = {
    "attention": AttentionPooling,
    "avg": AveragePooling,
    "cls": ClassTokenPooling,
    "gem": GeMPooling,
    "grid": GridPooling,
}


def create_pooling(
    pooling: PoolingChoice, channels: int, embed_dim: int, class_token: bool = False
) -> nn.Module:
    """Return the pooling of this name, or what the given factory makes.

    Args:
        pooling: One of ``POOLINGS``, such a name with options, or a function of
            (channels, embed_dim) that returns a module.
        channels: Channels of the map, and length of the class token.
        embed_dim: Length of the embedding.
        class_token: Whether the encoder has a class token for a pooling that needs it. Such an
            encoder defines its own ``forward``, which hands the token to a
            :class:`ClassTokenPooling` and the coarsest map to any other pooling.

    Raises:
        ValueError: If no pooling has this name, if it has no such option or takes others for it, or
            if it needs a class token that is not there.

    Example:
        >>> create_pooling("avg", channels=8, embed_dim=4)
        AveragePooling(
          (projection): Linear(in_features=8, out_features=4, bias=True)
        )
        >>> create_pooling(("attention", {"heads": 2}), channels=8, embed_dim=4).query
        Linear(in_features=8, out_features=2, bias=False)
    """
    offered = sorted(name for name in POOLINGS if class_token or name != "cls")
    made = _factory(pooling, offered)(channels, embed_dim)
    if isinstance(made, ClassTokenPooling) and not class_token:
        raise ValueError(
            f"pooling 'cls' needs a class token, which this encoder has not; choose from {offered}"
        )
    return made


def _factory(pooling: PoolingChoice, offered: list[str]) -> PoolingFactory:
    if callable(pooling):
        return pooling
    name, options = _name_and_options(pooling)
    if name not in POOLINGS:
        raise ValueError(f"pooling must be one of {offered}, got {name!r}")
    _, _, *known = inspect.signature(POOLINGS[name]).parameters.values()
    require_arguments(f"pooling {name!r}", known, options)
    return partial(POOLINGS[name], **options)


def _name_and_options(pooling: Any) -> tuple[str, Mapping[str, Any]]:
    match (pooling, {}) if isinstance(pooling, str) else pooling:
        case (str(name), Mapping() as options):
            return name, options
    raise ValueError(
        "pooling must be a name, a name with options as in ('grid', {'grid': (2, 4, 4)}), or a "
        f"function that makes a module, got {pooling!r}"
    )
