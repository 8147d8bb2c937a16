"""Image encoders by name."""

import difflib
import fnmatch
import inspect
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.pooling import PoolingFactory

EncoderFactory = Callable[..., ImageEncoder]
AnyFactory = TypeVar("AnyFactory", bound=EncoderFactory)

_FACTORIES: dict[str, EncoderFactory] = {}
_COMMON = ("in_channels", "embed_dim", "pooling")
_PLUGINS = "selip_core.image_encoders"


def register_image_encoder(name: str) -> Callable[[AnyFactory], AnyFactory]:
    """Return a decorator that makes an encoder class, or a function that builds one, known by name.

    The factory is called with ``in_channels``, ``embed_dim`` and ``pooling`` by keyword; its other
    parameters are the options of :func:`create_image_encoder`. A package can offer encoders without
    being imported: an entry point of the group ``selip_core.image_encoders`` names the module that
    registers them.

    Raises:
        ValueError: If the name is taken.

    Example:
        >>> from selip_core.encoders import ResNetEncoder
        >>> @register_image_encoder("resnet10_small")
        ... def resnet10_small(in_channels, embed_dim, pooling, width=0.25):
        ...     return ResNetEncoder(10, in_channels, embed_dim, pooling, width=width)
        >>> create_image_encoder("resnet10_small", embed_dim=64).embed_dim
        64
    """

    def register(factory: AnyFactory) -> AnyFactory:
        if name in _FACTORIES:
            raise ValueError(f"an image encoder named {name!r} is already registered")
        _FACTORIES[name] = factory
        return factory

    return register


def list_image_encoders(pattern: str = "*") -> list[str]:
    """Return the names of all encoders that match a shell pattern; resnet50 before resnet101.

    Example:
        >>> list_image_encoders("resnet?0")
        ['resnet10', 'resnet50']
    """
    _load_plugins()
    return sorted(fnmatch.filter(_FACTORIES, pattern), key=_words_and_numbers)


def create_image_encoder(
    name: str,
    in_channels: int = 1,
    embed_dim: int = 512,
    pooling: str | PoolingFactory = "avg",
    **options: Any,
) -> ImageEncoder:
    """Return a new encoder with random weights.

    Args:
        name: One of :func:`list_image_encoders`.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: ``"avg"`` (global average), ``"grid"`` (keeps position), or a function of
            (channels, embed_dim) that returns a module.
        **options: Options of this encoder, such as ``width`` of a ResNet.

    Raises:
        ValueError: If no encoder has this name, or if it has no such option; the message names
            close matches or the options allowed.

    Example:
        >>> import torch
        >>> encoder = create_image_encoder("resnet10", embed_dim=64, pooling="grid", width=0.25)
        >>> encoder(torch.zeros(2, 1, 8, 32, 32)).shape
        torch.Size([2, 64])
        >>> [tuple(x.shape) for x in encoder.forward_features(torch.zeros(2, 1, 8, 32, 32))][-1]
        (2, 128, 1, 1, 1)
    """
    factory = _find(name)
    allowed = [option for option in inspect.signature(factory).parameters if option not in _COMMON]
    unknown = sorted(options.keys() - set(allowed))
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; its options are {allowed}")
    return factory(in_channels=in_channels, embed_dim=embed_dim, pooling=pooling, **options)


def _words_and_numbers(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


@cache
def _load_plugins() -> None:
    for plugin in entry_points(group=_PLUGINS):
        plugin.load()


def _find(name: str) -> EncoderFactory:
    if name not in _FACTORIES:
        _load_plugins()
    if name not in _FACTORIES:
        close = difflib.get_close_matches(name, _FACTORIES) or list_image_encoders()
        raise ValueError(f"no image encoder is named {name!r}; did you mean {', '.join(close)}?")
    return _FACTORIES[name]
