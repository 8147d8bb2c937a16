"""The folder of a model: ``config.json``, ``model.safetensors`` and the card ``README.md``."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from selip_core._version import __version__
from selip_core.digests import SEAL, file_digest, require_digest, require_sealed, sealed
from selip_core.pretrained.card import ModelCard
from selip_core.pretrained.card_page import card_page
from selip_core.pretrained.hub import local_folder
from selip_core.pretrained.kinds import Json, build, describe, find_kind, kind_of, read_settings
from selip_core.pretrained.schema import STRICT, read_as, read_object
from selip_core.pretrained.tensors import read_tensors, write_tensors

M = TypeVar("M", bound=nn.Module)

FORMAT = 2
"""Written into ``config.json``. Format 1, which is still read, had digests of the weights alone."""

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"

_AGAIN = "copy the model's folder again"
_EDITED = (
    f"{_AGAIN}; to change a setting, load the model, change it there and save it into a new folder"
)


@dataclass(frozen=True)
class _Config:
    """What ``config.json`` holds.

    Attributes:
        format: :data:`FORMAT` of the version that wrote it.
        selip_core: The version that wrote it.
        sha256: Of the weights' file.
        model: Its kind, and what it is built from.
        files: SHA-256 of each further file that the model is built from, such as the tokenizer's.
        content_sha256: Of all this but itself.
    """

    __pydantic_config__ = STRICT
    format: int
    selip_core: str
    sha256: str
    model: Json
    files: dict[str, str] = field(default_factory=dict)
    content_sha256: str | None = None


def write_model(module: nn.Module, folder: Path, card: ModelCard | None = None) -> None:
    """Write a model into a folder that is there, which may hold other files.

    Raises:
        ValueError: If the model cannot be built again from what JSON holds.
        OSError: If a file cannot be written.
    """
    kind = kind_of(module)
    others = _files(folder)
    model = describe(module, folder)
    files = {name: file_digest(folder / name) for name in sorted(_files(folder) - others)}
    write_tensors(module, folder / WEIGHTS)
    config = asdict(_Config(FORMAT, __version__, file_digest(folder / WEIGHTS), model, files))
    text = json.dumps(sealed(config), indent=2, ensure_ascii=False, allow_nan=False)
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
    require_digest(folder / WEIGHTS, config.sha256, CONFIG, _AGAIN)
    _require_files(folder, config.files)
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
    require_digest(folder / WEIGHTS, config.sha256, CONFIG, _AGAIN)
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
    if number not in range(1, FORMAT + 1):
        raise ValueError(
            f"{path} has format {number}, and this selip-core {__version__} reads formats 1 to "
            f"{FORMAT}; install a version that reads it, such as {values.get('selip_core')}, its "
            "writer's"
        )
    if number > 1 or SEAL in values:
        require_sealed(values, path, _EDITED)
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


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _require_files(folder: Path, files: dict[str, str]) -> None:
    """Refuse changed files. A folder without its text side still gives its image encoder."""
    for name, digest in files.items():
        if (folder / name.split("/")[0]).exists():
            require_digest(folder / name, digest, CONFIG, _AGAIN)
