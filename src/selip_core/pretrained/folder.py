"""The folder of a model: ``config.json``, ``model.safetensors`` and the card ``README.md``."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from selip_core._version import __version__
from selip_core.pretrained.card import ModelCard
from selip_core.pretrained.card_page import card_page
from selip_core.pretrained.hub import local_folder
from selip_core.pretrained.kinds import Json, build, describe, find_kind, kind_of, read_settings
from selip_core.pretrained.schema import STRICT, read_as, read_object
from selip_core.pretrained.tensors import read_tensors, write_tensors

M = TypeVar("M", bound=nn.Module)

FORMAT = 1
"""Written into ``config.json``; who reads a lower one only refuses the folder."""

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"


@dataclass(frozen=True)
class _Config:
    """What ``config.json`` holds.

    Attributes:
        format: :data:`FORMAT` of whoever wrote it.
        selip_core: The version that wrote it.
        sha256: Of the weights' file.
        model: Its kind, and what it is built from.
    """

    __pydantic_config__ = STRICT
    format: int
    selip_core: str
    sha256: str
    model: Json


def write_model(module: nn.Module, folder: Path, card: ModelCard | None = None) -> None:
    """Write a model into a folder that is there, which may hold other files.

    Raises:
        ValueError: If the model cannot be built again from what JSON holds.
    """
    kind = kind_of(module)
    model = describe(module, folder)
    write_tensors(module, folder / WEIGHTS)
    config = _Config(FORMAT, __version__, _digest(folder / WEIGHTS), model)
    text = json.dumps(asdict(config), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    page = card_page(card or ModelCard(), kind, kind.facts(module), kind.sources(module))
    (folder / CARD).write_text(page, encoding="utf-8")


def load_model(
    expected: type[M], name_or_folder: str | os.PathLike[str], revision: str | None = None
) -> M:
    """Return the model of a folder, or the one part of it that is of the class asked for.

    It is on the CPU, in evaluation mode. Nothing is drawn from torch's global generator.

    Raises:
        FileNotFoundError: If there is no such folder or model, or a file of it is missing.
        ValueError: If the folder is no saved model, of a newer format, damaged, or of another
            class.
    """
    folder = local_folder(name_or_folder, revision)
    config = _read_config(folder)
    found = _part(expected, config.model, "", f"{folder / CONFIG} $.model")
    if found is None:
        raise ValueError(
            f"{folder} holds no {expected.__name__} but a model of kind "
            f"{config.model.get('kind')!r}; load it by that class"
        )
    _require_digest(folder / WEIGHTS, config.sha256)
    prefix, values, where = found
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        module = build(values, folder, where)
    if not isinstance(module, expected):
        raise ValueError(f"{folder} holds a {type(module).__name__}, no {expected.__name__}")
    read_tensors(module, folder / WEIGHTS, prefix)
    return module.eval()


def saved_settings(expected: type[nn.Module], folder: Path) -> Any:
    """Return the settings of the module of a class in a folder, without building it.

    None if this library did not save the folder, or if no such module is in it.

    Raises:
        FileNotFoundError: If the weights are missing.
        ValueError: If the folder is of a newer format or damaged.
    """
    path = folder / CONFIG
    if not path.is_file() or "selip_core" not in read_object(path):
        return None
    config = _read_config(folder)
    found = _part(expected, config.model, "", f"{path} $.model")
    if found is None:
        return None
    _require_digest(folder / WEIGHTS, config.sha256)
    _, values, where = found
    return read_settings(values, where)


def _read_config(folder: Path) -> _Config:
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no saved model: {CONFIG} is missing")
    values = read_object(path)
    number = values.get("format")
    if not isinstance(number, int) or "model" not in values:
        raise ValueError(f"{path} is not that of a model which selip-core saved")
    if number != FORMAT:
        raise ValueError(
            f"{path} has format {number}, and this selip-core {__version__} reads {FORMAT}; "
            f"install a version that reads it, such as {values.get('selip_core')}, its writer's"
        )
    return read_as(_Config, values, f"{path} $")


def _part(
    expected: type[nn.Module], values: Json, prefix: str, where: str
) -> tuple[str, Json, str] | None:
    """The settings of the first module of a class, with the beginning of its tensors' names.

    Kinds whose package is not imported are looked into as well: an image encoder is taken out of a
    dual encoder without what texts need.
    """
    kind = find_kind(values.get("kind"))
    if kind is not None and (
        issubclass(kind.module, expected) or issubclass(expected, kind.module)
    ):
        return prefix, values, where
    for key, inner in values.items():
        if isinstance(inner, dict) and "kind" in inner:
            found = _part(expected, inner, f"{prefix}{key}.", f"{where}.{key}")
            if found is not None:
                return found
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_digest(path: Path, digest: Any) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; copy the model's folder again")
    own = _digest(path)
    if own != digest:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is {own}, and {CONFIG} says {digest}; copy the "
            "model's folder again"
        )
