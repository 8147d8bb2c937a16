"""Kinds of modules that are saved: how each is told in ``config.json``, and built again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from torch import nn

from selip_core.pretrained.schema import read_as
from selip_core.pretrained.source import WeightsSource

Json = dict[str, Any]
"""What JSON can hold."""


@final
@dataclass(frozen=True)
class Kind:
    """How modules of one class are saved and loaded.

    Attributes:
        name: Stands in ``config.json``.
        module: The class; of its subclasses too.
        home: The package that offers the class.
        task: The name that the Hugging Face hub has for what it does.
        settings: A dataclass of what :attr:`build` needs, of values that JSON can hold; its
            ``__pydantic_config__`` is ``selip_core.pretrained.STRICT``.
        describe: Returns the settings of a module, and may write further files into the folder.
        build: Returns a module, with any weights, from settings, the folder, and where the settings
            stand, for messages.
        facts: Returns what the model card tells of a module.
        sources: Returns where its weights come from.
    """

    name: str
    module: type[nn.Module]
    home: str
    task: str
    settings: type[Any]
    describe: Callable[[Any, Path], Any]
    build: Callable[[Any, Path, str], nn.Module]
    facts: Callable[[Any], Mapping[str, str]]
    sources: Callable[[Any], Sequence[WeightsSource]]


_KINDS: dict[str, Kind] = {}


def register_kind(kind: Kind) -> None:
    """Make a kind known by its name.

    Raises:
        ValueError: If the name is taken.
    """
    if kind.name in _KINDS:
        raise ValueError(f"a kind named {kind.name!r} is already registered")
    _KINDS[kind.name] = kind


def kind_of(module: nn.Module) -> Kind:
    """Return the kind of a module.

    Raises:
        ValueError: If it has none.
    """
    for kind in _KINDS.values():
        if isinstance(module, kind.module):
            return kind
    known = ", ".join(sorted(kind.module.__name__ for kind in _KINDS.values()))
    raise ValueError(
        f"{type(module).__name__} cannot be saved by name: it is none of {known}. Save its "
        "state_dict, or register its kind (selip_core.pretrained.register_kind)"
    )


def find_kind(name: Any) -> Kind | None:
    """Return the kind of this name, or None if no package that was imported registers it."""
    return _KINDS.get(name) if isinstance(name, str) else None


def describe(module: nn.Module, folder: Path) -> Json:
    """Return what ``config.json`` tells of a module or of a part of one; writes its other files.

    Raises:
        ValueError: If the module cannot be built again from what JSON holds.
    """
    kind = kind_of(module)
    return {"kind": kind.name, **asdict(kind.describe(module, folder))}


def build(values: Json, folder: Path, where: str) -> nn.Module:
    """Return the module that :func:`describe` told of; its weights are yet to be read.

    Args:
        values: What was told.
        folder: Holds the other files.
        where: The file and the path of the values in it, such as ``"config.json $.model"``.

    Raises:
        ValueError: If it cannot be built.
    """
    kind = find_kind(values.get("kind"))
    if kind is None:
        raise ValueError(
            f"{where}.kind must be one of {sorted(_KINDS)}, got {values.get('kind')!r}; import the "
            "package that registers it first"
        )
    settings = {key: value for key, value in values.items() if key != "kind"}
    return kind.build(read_as(kind.settings, settings, where), folder, where)
