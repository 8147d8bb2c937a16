"""Embeddings on disk, under hashes of their texts."""

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from selip_core.errors import WriteError
from selip_core.files import atomic_path, remove_partial_files
from selip_core.folders import is_readable, is_wrong_path, require_writable
from selip_core.similarity.operators import Index
from selip_core.tensor_files import load_tensors, save_tensors

_FORMAT = 2
_ENCODER = "encoder"
_DAY = 86400.0
_LIBRARIES = ("torch", "transformers", "sentence-transformers")
_HASH_BYTES = 32
_READ_ONLY = (
    "the cache of embeddings cannot be written to ({reason}): what it holds is used, and texts "
    "that it lacks are embedded in every run"
)
_WRITE = (
    "embeddings could not be kept in the cache ({reason}): this run goes on without; make room or "
    "name another folder for the next one"
)
_READ = (
    "a file of the cache of embeddings cannot be read ({reason}): it is left as it is, and its "
    "texts are embedded again"
)
_CLOSED = (
    "the cache of embeddings cannot be used ({reason}): texts are embedded in every run; make room "
    "or name another folder"
)
_DAMAGED = "a file of the cache of embeddings is damaged: its texts are embedded again"


@final
class EmbeddingCache:
    """The embeddings that one encoder made of texts, in a folder; safe for several processes.

    Each :meth:`write` makes a file of its own, whole or not at all. A folder within the given one
    belongs to one encoder, dtype (float32) and set of library versions: whatever differs has
    another folder, so nothing stale is served.

    The cache is optional: a file that is damaged, by its SHA-256, or cannot be read, a full disk
    and a folder that can only be read, or not even that, are one warning each, and texts are
    embedded as without a cache. A damaged file is replaced by the next one that is written; nothing
    is ever deleted.

    Args:
        folder: Made, with those above it, if it is missing.
        encoder: Tells one encoder from another, such as the hash of its files.

    Raises:
        ValueError: If the path can be no folder, as where a file has its name.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> EmbeddingCache(folder, "letters 1").write(["a"], torch.ones(1, 2))
        >>> EmbeddingCache(folder, "letters 1").read(["b", "a"])
        [(tensor([1]), tensor([[1., 1.]]))]
        >>> EmbeddingCache(folder, "letters 2").read(["b", "a"])
        []
    """

    def __init__(self, folder: str | os.PathLike[str], encoder: str) -> None:
        versions = {name: _version(name) for name in _LIBRARIES}
        key = {"format": _FORMAT, "encoder": encoder, "dtype": "float32", "versions": versions}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode("utf-8", "surrogatepass"))
        self.folder = Path(folder) / digest.hexdigest()[:_HASH_BYTES]
        self._warned: set[str] = set()
        self._damaged: list[Path] = []
        try:
            require_writable(self.folder)
        except ValueError as error:
            if is_wrong_path(error):
                raise
            self._warn(_READ_ONLY if is_readable(folder) else _CLOSED, error.__cause__)
        else:
            remove_partial_files(self.folder, minimum_age=_DAY)

    def read(self, texts: Sequence[str]) -> list[tuple[Index, Float[Tensor, "part r"]]]:
        """Return places of texts and their embeddings, for those that are there."""
        wanted = {_hash(text): place for place, text in enumerate(texts)}
        parts = []
        for path in self._files():
            hashes, embeddings = self._read(path)
            places = [wanted.pop(digest.tobytes(), -1) for digest in hashes.numpy()]
            found = torch.tensor(places, dtype=torch.int64)
            if bool((found >= 0).any()):
                parts.append((found[found >= 0], embeddings[found >= 0]))
        return parts

    def write(self, texts: Sequence[str], embeddings: Float[Tensor, "texts r"]) -> None:
        """Keep the embeddings of these texts; after a failure, no more are kept."""
        if {_READ_ONLY, _WRITE, _CLOSED} & self._warned:
            return
        joined = bytearray(b"".join(map(_hash, texts)))
        hashes = torch.frombuffer(joined, dtype=torch.uint8).view(-1, _HASH_BYTES)
        tensors = {"hashes": hashes, "embeddings": embeddings}
        while self._damaged:
            with suppress(WriteError):  # one of another user, where only owners may rename
                _write(tensors, self._damaged.pop())
                return
        try:
            _write(tensors, self.folder / f"{uuid.uuid4().hex}.safetensors")
        except WriteError as error:
            self._warn(_WRITE, error)

    def _files(self) -> list[Path]:
        if _CLOSED in self._warned:
            return []
        try:
            return sorted(
                path
                for path in self.folder.iterdir()
                if path.suffix == ".safetensors" and not path.name.startswith(".")
            )
        except FileNotFoundError:
            return []
        except OSError as error:
            self._warn(_READ, error)
            return []

    def _read(self, path: Path) -> tuple[UInt8[Tensor, "texts 32"], Float[Tensor, "texts r"]]:
        """Return hashes and embeddings; none, with a warning, if they cannot be had."""
        try:
            tensors, facts = load_tensors(path)
            if facts.get(_ENCODER) != self.folder.name:
                raise ValueError("the embeddings are those of another encoder")
            _require_usable(tensors)
        except OSError as error:
            self._warn(_READ, error)
        except ValueError:
            self._warn(_DAMAGED)
            self._damaged.append(path)
        else:
            return tensors["hashes"], tensors["embeddings"]
        return torch.empty(0, _HASH_BYTES, dtype=torch.uint8), torch.empty(0, 0)

    def _warn(self, message: str, error: BaseException | None = None) -> None:
        """Warn once of each kind, without the path or a text."""
        if message not in self._warned:
            self._warned.add(message)
            reason = getattr(error, "strerror", None) or type(error).__name__
            warnings.warn(message.format(reason=reason), stacklevel=2)


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    with atomic_path(path) as temporary:
        save_tensors(tensors, temporary, {_ENCODER: path.parent.name})


def _require_usable(tensors: dict[str, Tensor]) -> None:
    hashes, embeddings = tensors.get("hashes"), tensors.get("embeddings")
    if hashes is None or embeddings is None:
        raise ValueError("the file is no part of a cache of embeddings")
    is_right = (
        hashes.dtype == torch.uint8
        and hashes.shape == (len(embeddings), _HASH_BYTES)
        and embeddings.dtype == torch.float32
        and embeddings.ndim == 2
        and bool(embeddings.isfinite().all())
    )
    if not is_right:
        raise ValueError("hashes and embeddings do not fit together, or are not finite")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
