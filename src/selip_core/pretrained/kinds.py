"""Kinds of modules that are saved: how each is told in ``config.json``, and built again."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from torch import nn

from selip_core.errors import DataError, Problem
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
        module: The class; if it is abstract, its subclasses, which the settings tell apart.
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
    """Return the kind of a module, that of its nearest class.

    Raises:
        ValueError: If it has none.
    """
    kinds = {kind.module: kind for kind in _KINDS.values()}
    for ancestor in type(module).__mro__:
        if ancestor in kinds:
            return kinds[ancestor]
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
    if type(module) is not kind.module and not inspect.isabstract(kind.module):
        raise ValueError(
            f"{type(module).__name__} is a subclass of {kind.module.__name__}, and would come back "
            "as one of these: save such a one with its parts, or register a kind for the subclass "
            "(selip_core.pretrained.register_kind)"
        )
    return {"kind": kind.name, **asdict(kind.describe(module, folder))}


def build(values: Json, folder: Path, where: str) -> nn.Module:
    """Return the module that :func:`describe` told of; its weights are yet to be read.

    Nothing is built but what registered kinds build.

    Args:
        values: What was told.
        folder: Holds the other files.
        where: The file and the path of the values in it, such as ``"config.json $.model"``.

    Raises:
        ValueError: If it cannot be built.
        OSError: If another file that it needs is missing.
        ImportError: If a package that it needs is missing.
    """
    kind = _kind_in(values, where)
    settings = read_settings(values, where)
    try:
        return kind.build(settings, folder, where)
    except (DataError, OSError, ImportError):
        raise
    except Exception as error:  # whatever a constructor makes of values that nobody checked
        problem = f"no {kind.name} can be made of it ({type(error).__name__}: {error})"
        raise DataError(f"{where} cannot be used", [Problem(where, problem)]) from error


def read_settings(values: Json, where: str) -> Any:
    """Return the settings that :func:`describe` told of a module, without building it.

    Args:
        values: What was told.
        where: The file and the path of the values in it.

    Raises:
        ValueError: If they are of no kind that is registered, or keys are wrong.
    """
    settings = {key: value for key, value in values.items() if key != "kind"}
    return read_as(_kind_in(values, where).settings, settings, where)


def _kind_in(values: Json, where: str) -> Kind:
    kind = find_kind(values.get("kind"))
    if kind is None:
        raise ValueError(
            f"{where}.kind must be one of {sorted(_KINDS)}, got {values.get('kind')!r}; import the "
            "package that registers it first"
        )
    return kind
