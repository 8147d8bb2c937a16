"""Weights and models that settings name: whether they are there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selip_core.encoders.trained import find_weights
from selip_core.pretrained.hub import is_hub_name
from selip_core.recipes.config import EMBEDDED


def missing_sources(values: Any) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield place and message of each source that is not there.

    Args:
        values: Settings as a file gave them: what else is wrong with them is not told here.

    Example:
        >>> list(missing_sources({"image_encoder": {"pretrained": "gone.safetensors"}}))
        [(('image_encoder', 'pretrained'), 'there is no file gone.safetensors')]
    """
    match values:
        case {"image_encoder": {"pretrained": str(weights), **others}} if weights:
            try:
                find_weights(weights, _text(others.get("revision")))
            except (OSError, ValueError) as error:
                yield ("image_encoder", "pretrained"), str(error)
    match values:
        case {"text_encoder": {"name": str(name)}} if name != EMBEDDED:
            # What can be a name of the hub is looked for there when the model is made.
            if not is_hub_name(name) and not Path(name).exists():
                yield ("text_encoder", "name"), f"there is no folder {name}"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
