"""Fitted similarities on disk: tensors, words, ids and a card; never pickle."""

import datetime
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from selip_core._version import __version__
from selip_core.digests import SEAL, file_digest, require_digest, require_sealed, sealed
from selip_core.files import atomic_folder, remove_partial_files, replaced_folder
from selip_core.strict_json import parse_json
from selip_core.tensor_files import save_tensors

Json: TypeAlias = dict[str, Any]
"""What JSON can hold."""

FORMAT = 2
"""Written into the card. Format 1, which is still read, had no digest of the card itself."""

AGAIN = "fit and save again"
CARD = "card.json"
_IDS = "ids.json"
_TENSORS = "tensors.safetensors"
_DAY = 86400.0
_PACKAGES = ("torch", "safetensors", "rapidfuzz", "sentence-transformers", "transformers")
_ON_CARD: dict[str, type] = {
    "definition": dict,
    "facts": dict,
    "tensors": dict,
    "sha256": dict,
    "reports": int,
}


@final
@dataclass(frozen=True, eq=False)
class State:
    """What a fitted similarity has learned, in the form in which it is saved.

    Attributes:
        tensors: By name.
        facts: What else there is, as JSON can hold it; shown on the card, so nothing of reports.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    facts: Json = field(default_factory=dict)

    def part(self, name: str) -> "State":
        """Return what stands under a name, such as that of one of several parts."""
        start = f"{name}."
        inner = {n.removeprefix(start): t for n, t in self.tensors.items() if n.startswith(start)}
        return State(inner, self.facts.get(name, {}))

    def tensor(self, name: str, dtype: torch.dtype, shape: tuple[int | None, ...]) -> Tensor:
        """Return a tensor of this dtype and shape; ``None`` in a shape is any size."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise ValueError(f"the tensor {name!r} is missing")
        fits = len(shape) == tensor.ndim and all(
            size in (None, own) for size, own in zip(shape, tensor.shape, strict=True)
        )
        if not fits or tensor.dtype != dtype:
            raise ValueError(
                f"the tensor {name!r} must be {dtype} of shape {shape}, got {tensor.dtype} of "
                f"shape {tuple(tensor.shape)}"
            )
        return tensor

    def codes(
        self, name: str, size: int | None, least: int, below: int, dtype: torch.dtype = torch.int64
    ) -> Tensor:
        """Return a vector of whole numbers of at least ``least`` and below ``below``."""
        tensor = self.tensor(name, dtype, (size,))
        if tensor.numel():
            smallest, largest = map(int, tensor.aminmax())
            if smallest < least or largest >= below:
                raise ValueError(
                    f"the tensor {name!r} must hold numbers from {least} to {below - 1}, got "
                    f"{smallest} to {largest}"
                )
        return tensor


@final
@dataclass(frozen=True, eq=False)
class Saved:
    """What a folder holds.

    Attributes:
        definition: What was fitted, see :meth:`Similarity.definition`.
        ids: Of the fitted reports, in their order.
        state: What was learned.
    """

    definition: Json
    ids: list[str]
    state: State

    def restore(
        self, take_up: Callable[[list[str], State], None], folder: str | os.PathLike[str]
    ) -> None:
        """Let a similarity take it up, and say of which folder an error speaks."""
        try:
            take_up(self.ids, self.state)
        except ValueError as error:
            raise ValueError(f"{os.fspath(folder)} is damaged: {error}; {AGAIN}") from error


def write_saved(
    folder: str | os.PathLike[str], saved: Saved, corpus_hash: str, *, overwrite: bool = False
) -> None:
    """Write a folder, whole or not at all.

    Args:
        folder: A new or empty folder.
        saved: What to write.
        corpus_hash: See :func:`hash_corpus`.
        overwrite: Replace a folder that holds a saved similarity.

    Raises:
        FileExistsError: If there is something else, or a saved similarity and not ``overwrite``.
        WriteError: If it cannot be written; what it was to replace stays.
    """
    folder = Path(folder)
    replaces = require_free(folder, overwrite)
    with atomic_folder(folder, replace=replaces) as temporary:
        _write_files(temporary, saved, corpus_hash)
    if replaces:
        remove_partial_files(folder.parent, minimum_age=_DAY)


def require_free(folder: str | os.PathLike[str], overwrite: bool = False) -> bool:
    """Refuse a folder that is not to be written; return whether it is to be replaced.

    A folder whose replacement was cut short by a kill gets its name back first.

    Raises:
        FileExistsError: If there is something else than a saved similarity or an empty folder, or a
            saved similarity and not ``overwrite``.
    """
    folder = Path(folder)
    old = replaced_folder(folder)
    if old is not None:
        old.rename(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / CARD).is_file():
        raise FileExistsError(
            f"{folder} exists and holds no saved similarity; choose a new or empty folder"
        )
    if not overwrite:
        raise FileExistsError(
            f"{folder} holds a saved similarity; choose another folder, or replace it with "
            "overwrite=True (--overwrite)"
        )
    return True


def read_saved(folder: str | os.PathLike[str]) -> Saved:
    """Read a folder; its tensors are mapped from the file, so that processes share them.

    Each file is compared with the SHA-256 on the card, which takes a second per gigabyte.

    Raises:
        ValueError: If it is no saved similarity, of another format, or damaged.
        FileNotFoundError: If there is no such folder.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = _present(folder)
    card = read_card(folder)
    for name in (_IDS, _TENSORS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing; {AGAIN}")
        require_digest(folder / name, card["sha256"].get(name), CARD, AGAIN)
    ids = _read_json(folder / _IDS, list)
    if not all(isinstance(id, str) for id in ids) or len(set(ids)) != card["reports"]:
        raise ValueError(f"{folder / _IDS} must hold {card['reports']} distinct ids; {AGAIN}")
    try:
        tensors = load_file(folder / _TENSORS)
    except SafetensorError as error:
        raise ValueError(f"{folder / _TENSORS} is damaged ({error}); {AGAIN}") from error
    if _shapes(tensors) != card["tensors"]:
        raise ValueError(f"{folder / _TENSORS} holds other tensors than the card names; {AGAIN}")
    return Saved(card["definition"], ids, State(tensors, card["facts"]))


def read_card(folder: str | os.PathLike[str]) -> Json:
    """Return the card of a folder.

    Raises:
        ValueError: If it is no saved similarity, or of another format.
        FileNotFoundError: If there is no such folder.
    """
    folder = _present(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; save a similarity there first")
    if not (folder / CARD).is_file():
        raise ValueError(f"{folder} holds no saved similarity: it has no {CARD}")
    card: Json = _read_json(folder / CARD, dict)
    if card.get("format") not in range(1, FORMAT + 1):
        raise ValueError(
            f"{folder / CARD} must be of a format from 1 to {FORMAT}, got {card.get('format')!r}; "
            f"load it with the version of selip-core that the card names, or {AGAIN}"
        )
    if card["format"] > 1 or SEAL in card:
        require_sealed(card, folder / CARD, AGAIN)
    for name, kind in _ON_CARD.items():
        if not isinstance(card.get(name), kind):
            raise ValueError(f"{folder / CARD} must have a {kind.__name__} {name!r}; {AGAIN}")
    return card


def hash_corpus(ids: Iterable[str], sayings: Iterable[bytes]) -> str:
    """Return a hash of a corpus that does not depend on the order of its reports.

    SHA-256 of the sorted SHA-256 digests of each id and of what its report says.

    Args:
        ids: Of the reports.
        sayings: A digest of what each report says to the similarity.

    Example:
        >>> hash_corpus(["a", "b"], [b"1", b"2"]) == hash_corpus(["b", "a"], [b"2", b"1"])
        True
        >>> hash_corpus(["a", "b"], [b"1", b"2"]) == hash_corpus(["a", "b"], [b"2", b"1"])
        False
    """
    digests = sorted(
        hashlib.sha256(json.dumps(id).encode() + said).digest()
        for id, said in zip(ids, sayings, strict=True)
    )
    return "sha256:" + hashlib.sha256(b"".join(digests)).hexdigest()


def _write_files(folder: Path, saved: Saved, corpus_hash: str) -> None:
    save_tensors(saved.state.tensors, folder / _TENSORS)
    _write_json(folder / _IDS, saved.ids)
    card = {
        "format": FORMAT,
        "kind": saved.definition["kind"],
        "definition": saved.definition,
        "facts": saved.state.facts,
        "reports": len(saved.ids),
        "corpus_hash": corpus_hash,
        "versions": _versions(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "tensors": _shapes(saved.state.tensors),
        "sha256": {name: file_digest(folder / name) for name in (_IDS, _TENSORS)},
    }
    _write_json(folder / CARD, sealed(card), indent=2)


def _write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON value; its strings may hold lone surrogates, which UTF-8 lacks."""
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


def _read_json(path: Path, kind: type) -> Any:
    """Return the value of a JSON file, which must be of a kind."""
    try:
        content = parse_json(path.read_text(encoding="utf-8", errors="surrogatepass"))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{path} is missing or damaged; {AGAIN}") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} must hold a JSON {kind.__name__}; {AGAIN}")
    return content


def _shapes(tensors: dict[str, Tensor]) -> dict[str, str]:
    """Return dtype and shape of each, such as ``"int64 [3, 2]"``."""
    return {
        name: f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        for name, tensor in sorted(tensors.items())
    }


def _versions() -> dict[str, str]:
    found = {"selip-core": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _present(folder: str | os.PathLike[str]) -> Path:
    """Return the folder, or the one that it was to replace when its writer was killed."""
    return replaced_folder(folder) or Path(folder)
