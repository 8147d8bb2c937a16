"""Factories of image encoders by name."""

import difflib
import fnmatch
import inspect
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from torch import nn

from selip_core.encoders.arguments import require_arguments
from selip_core.encoders.settings import ImageEncoderSettings

EncoderFactory = Callable[..., nn.Module]
AnyFactory = TypeVar("AnyFactory", bound=EncoderFactory)

_COMMON = ("in_channels", "embed_dim", "pooling")
_NAME = re.compile(r"\w[\w.-]*")
_PLUGINS = "selip_core.image_encoders"


@dataclass(frozen=True)
class _Entry:
    factory: EncoderFactory
    weights: tuple[str, ...]


_ENTRIES: dict[str, _Entry] = {}


def register_image_encoder(
    name: str, weights: Sequence[str] = ()
) -> Callable[[AnyFactory], AnyFactory]:
    """Return a decorator that makes an encoder class, or a function that builds one, known by name.

    The factory is called with ``in_channels``, ``embed_dim`` and ``pooling`` by keyword; its other
    parameters are the options of :func:`create_image_encoder`. A package can offer encoders without
    being imported: an entry point of the group ``selip_core.image_encoders`` names the module that
    registers them.

    Args:
        name: The name to be created by: letters, digits, ``_``, ``-`` and ``.``.
        weights: Names of the published weights that fit, as in
            ``selip_core.encoders.weights.WEIGHT_FORMATS``; or ``"timm"``, where the encoder has a
            ``load_timm_weights``.

    Raises:
        ValueError: If the name is none or taken, if the weights are one text, or if what is
            registered does not take the three keywords.

    Example:
        >>> from selip_core.encoders import ResNetEncoder
        >>> @register_image_encoder("resnet10_small")
        ... def resnet10_small(in_channels, embed_dim, pooling, width=0.25):
        ...     return ResNetEncoder(10, in_channels, embed_dim, pooling, width=width)
        >>> from selip_core import create_image_encoder
        >>> create_image_encoder("resnet10_small", embed_dim=64).embed_dim
        64
    """
    _require_name(name)
    if isinstance(weights, str):
        raise ValueError(f"weights must be a sequence of names, such as ({weights!r},)")

    def register(factory: AnyFactory) -> AnyFactory:
        if name in _ENTRIES:
            raise ValueError(f"an image encoder named {name!r} is already registered")
        _require_common(name, factory)
        _ENTRIES[name] = _Entry(factory, tuple(weights))
        return factory

    return register


def list_image_encoders(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Return the names of all encoders that match a shell pattern; resnet50 before resnet101.

    Args:
        pattern: ``*`` stands for any text, ``?`` for one character, ``[0-9]`` for one of these.
        pretrained: Only those that known published weights fit: :func:`create_image_encoder` takes
            them as ``pretrained``, ``slicewise*`` by ``load_timm_weights``. Others may fit files
            of one's own, in layouts of ``selip_core.encoders.weights.WEIGHT_FORMATS``.

    Example:
        >>> list_image_encoders("resnet?0")
        ['resnet10', 'resnet50']
    """
    _load_plugins()
    names = fnmatch.filter(_ENTRIES, pattern)
    return sorted(
        (name for name in names if _ENTRIES[name].weights or not pretrained),
        key=_words_and_numbers,
    )


def published_weights(name: str) -> tuple[str, ...]:
    """Return the names of the published weights that fit an encoder.

    Raises:
        ValueError: If no encoder has this name.
    """
    return _find(name).weights


def build(settings: ImageEncoderSettings) -> nn.Module:
    """Return a new encoder with random weights, which keeps its settings.

    Raises:
        ValueError: If no encoder has this name, or if it has no such option or takes others for it:
            all that are wrong at once.
    """
    factory = _find(settings.name).factory
    require_arguments(settings.name, _options(factory), settings.options)
    encoder = factory(
        in_channels=settings.in_channels,
        embed_dim=settings.embed_dim,
        pooling=settings.pooling,
        **settings.options,
    )
    encoder.settings = settings  # type: ignore[assignment]  # a plain attribute
    return encoder


def option_parameters(name: str) -> list[inspect.Parameter]:
    """Return the options of an encoder as its factory declares them.

    Raises:
        ValueError: If no encoder has this name.
    """
    return _options(_find(name).factory)


def all_options(settings: ImageEncoderSettings) -> dict[str, Any]:
    """Return the options of an encoder, with the defaults of those that are not given.

    Raises:
        ValueError: If no encoder has this name.

    Example:
        >>> all_options(ImageEncoderSettings("resnet10", options={"width": 0.5}))
        {'stem': 'paper', 'stages': 4, 'width': 0.5}
    """
    options = option_parameters(settings.name)
    defaults = {each.name: each.default for each in options if each.default is not each.empty}
    return defaults | dict(settings.options)


def _require_name(name: object) -> None:
    if callable(name):
        raise ValueError(
            "register_image_encoder must be given a name: write @register_image_encoder"
            f'("{getattr(name, "__name__", "my_encoder").lower()}") above the encoder'
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            "the name of an image encoder must be letters, digits, '_', '-' and '.', as in "
            f"'resnet50', got {name!r}"
        )


def _require_common(name: str, factory: EncoderFactory) -> None:
    parameters = inspect.signature(factory).parameters.values()
    by_keyword = {
        each.name
        for each in parameters
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    missing = [common for common in _COMMON if common not in by_keyword]
    if missing and all(each.kind is not each.VAR_KEYWORD for each in parameters):
        raise ValueError(
            f"what is registered as {name!r} is called with {', '.join(_COMMON)} by keyword, and "
            f"does not take {', '.join(missing)}"
        )


def _options(factory: EncoderFactory) -> list[inspect.Parameter]:
    parameters = inspect.signature(factory).parameters.values()
    return [parameter for parameter in parameters if parameter.name not in _COMMON]


def _words_and_numbers(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


@cache
def _load_plugins() -> None:
    for plugin in entry_points(group=_PLUGINS):
        try:
            plugin.load()
        except Exception as error:  # another package's mistake must not hide all other encoders
            warnings.warn(
                f"the image encoders of {plugin.value} could not be loaded: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )


def _find(name: str) -> _Entry:
    if not isinstance(name, str):
        raise ValueError(f"the name of an image encoder must be a text, got {name!r}")
    if name not in _ENTRIES:
        _load_plugins()
    if name not in _ENTRIES:
        close = difflib.get_close_matches(name, _ENTRIES)
        known = f"did you mean {', '.join(close)}?" if close else "list_image_encoders() tells all."
        raise ValueError(
            f"no image encoder is named {name!r}; {known} If another package registers it, "
            "that one may be missing: install or import it"
        )
    return _ENTRIES[name]
