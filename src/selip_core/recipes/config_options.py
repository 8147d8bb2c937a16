"""Options of encoders and poolings in a configuration: refused before any data is read."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from selip_core.encoders.arguments import wrong_arguments
from selip_core.encoders.pooling import POOLINGS
from selip_core.encoders.registry import option_parameters
from selip_core.pretrained.schema import with_tuples


def require_registered(name: str) -> None:
    """Refuse a name that no image encoder has.

    Raises:
        ValueError: If none has it; the message names close ones.
    """
    option_parameters(name)


def require_image_encoder_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that an image encoder does not have, or of another type.

    Raises:
        ValueError: All of them at once.

    Example:
        >>> require_image_encoder_options("resnet10", {"widht": 0.5})
        Traceback (most recent call last):
        ...
        ValueError: widht: unknown; did you mean 'width'?
    """
    _require(option_parameters(name), options)


def require_pooling_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a pooling does not have, or of another type.

    Raises:
        ValueError: All of them at once.

    Example:
        >>> require_pooling_options("grid", {"grid": [2, 4]})
        Traceback (most recent call last):
        ...
        ValueError: grid: Input should be int | tuple[int, int, int]
    """
    _, _, *declared = inspect.signature(POOLINGS[name]).parameters.values()
    _require(declared, options)


def _require(declared: Iterable[inspect.Parameter], options: Mapping[str, Any]) -> None:
    wrong = wrong_arguments(declared, with_tuples(options))
    if wrong:
        raise ValueError("; ".join(f"{name}: {message}" for name, message in wrong.items()))
