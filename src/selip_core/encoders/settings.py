"""What an encoder was made from: enough to make it again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from selip_core.encoders.pooling import PoolingChoice


@dataclass(frozen=True)
class ImageEncoderSettings:
    """The arguments of :func:`create_image_encoder`, without weights.

    Lists among the options are kept as tuples, numbers of numpy as Python's.

    Attributes:
        name: The name the encoder is registered by.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: Its name, its name and options, or the function that made it.
        options: Options of this encoder.

    Example:
        >>> from selip_core import create_image_encoder
        >>> encoder = create_image_encoder("resnet10", embed_dim=64, width=0.25)
        >>> encoder.settings.to_json()["options"]
        {'width': 0.25}
        >>> again = create_image_encoder(**encoder.settings.arguments())
        >>> again.settings == encoder.settings
        True
    """

    name: str
    in_channels: int = 1
    embed_dim: int = 512
    pooling: PoolingChoice = "avg"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # What JSON holds and what was written in Python are equal.
        object.__setattr__(self, "pooling", _plain(self.pooling))
        object.__setattr__(self, "options", _plain(self.options))

    def arguments(self) -> dict[str, Any]:
        """Return the keywords that make the encoder again."""
        return {
            "name": self.name,
            "in_channels": self.in_channels,
            "embed_dim": self.embed_dim,
            "pooling": self.pooling,
            **self.options,
        }

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold.

        Raises:
            ValueError: If the pooling is a function, or if JSON cannot hold an option.
        """
        if callable(self.pooling):
            raise ValueError(
                f"a pooling made by a function ({self.pooling!r}) cannot be told in JSON: "
                "choose one by name, with options as in ('grid', {'grid': (2, 4, 4)}), or register "
                "an encoder that makes this one"
            )
        values = dict(vars(self))
        try:
            json.dumps(values, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"options of {self.name} cannot be told in JSON ({error}): give numbers, texts, "
                f"lists or none, got {self.options} and pooling {self.pooling!r}"
            ) from error
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings that :meth:`to_json` told."""
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
