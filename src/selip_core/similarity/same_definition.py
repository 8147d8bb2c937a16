"""Saved definitions: those of earlier versions, and where two differ."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from selip_core.similarity.saving import Json

_SHOWN = 20
_BEFORE = {"semantic": {"long_texts": "cut"}, "embedding": {"long_texts": "cut"}}
"""By kind, the settings that earlier versions lacked, and what those versions did."""


def completed(definition: Any) -> Any:
    """Return a saved definition with the settings that the version that saved it lacked.

    Example:
        >>> completed({"kind": "embedding", "field": "site"})
        {'long_texts': 'cut', 'kind': 'embedding', 'field': 'site'}
    """
    if isinstance(definition, list):
        return [completed(item) for item in definition]
    if not isinstance(definition, dict):
        return definition
    before = _BEFORE.get(str(definition.get("kind")), {})
    return before | {name: completed(value) for name, value in definition.items()}


def require_same_definition(here: Json, there: Json, folder: str | os.PathLike[str]) -> None:
    """Refuse what was saved under another definition.

    Raises:
        ValueError: If they differ; the message shows where.

    Example:
        >>> require_same_definition({"gamma": 8.0}, {"gamma": 1.0}, "fitted")
        Traceback (most recent call last):
        ...
        ValueError: fitted holds a similarity of another definition; here -> there:
          gamma: 8.0 -> 1.0
        fit again, or load it as it is with load_similarity
    """
    here = json.loads(json.dumps(here))
    if here == there:
        return
    left, right = dict(_leaves(here)), dict(_leaves(there))
    paths = [path for path in {**left, **right} if left.get(path) != right.get(path)]
    lines = [f"  {path}: {left.get(path, 'none')} -> {right.get(path, 'none')}" for path in paths]
    more = [f"  and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    raise ValueError(
        "\n".join(
            [
                f"{os.fspath(folder)} holds a similarity of another definition; here -> there:",
                *lines[:_SHOWN],
                *more,
                "fit again, or load it as it is with load_similarity",
            ]
        )
    )


def _leaves(content: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted path and the value, as JSON, of everything within."""
    if isinstance(content, dict) and content:
        for name, value in content.items():
            yield from _leaves(value, f"{path}.{name}" if path else name)
    elif isinstance(content, Sequence) and not isinstance(content, str) and content:
        for number, value in enumerate(content):
            yield from _leaves(value, f"{path}[{number}]")
    else:
        yield path, json.dumps(content, ensure_ascii=False)
