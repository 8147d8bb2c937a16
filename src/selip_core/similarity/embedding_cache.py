"""Embeddings on disk, under hashes of their texts."""

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from selip_core.files import atomic_path
from selip_core.similarity.operators import Index

_LIBRARIES = ("torch", "transformers", "sentence-transformers")
_HASH_BYTES = 32


@final
class EmbeddingCache:
    """The embeddings that one encoder made of texts, in a folder; safe for several processes.

    Each :meth:`write` makes a file of its own, whole or not at all. A folder within the given one
    belongs to one encoder, dtype (float32) and set of library versions: whatever differs has
    another folder, so nothing stale is served. Files that are damaged are removed with a warning.

    Args:
        folder: Made, with those above it, if it is missing.
        encoder: Tells one encoder from another, such as the hash of its files.

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
        key = {"encoder": encoder, "dtype": "float32", "versions": versions}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode("utf-8", "surrogatepass"))
        self.folder = Path(folder) / digest.hexdigest()[:_HASH_BYTES]
        self.folder.mkdir(parents=True, exist_ok=True)

    def read(self, texts: Sequence[str]) -> list[tuple[Index, Float[Tensor, "part r"]]]:
        """Return places of texts and their embeddings, for those that are there."""
        wanted = {_hash(text): place for place, text in enumerate(texts)}
        parts = []
        for path in sorted(self.folder.glob("[!.]*.safetensors")):
            hashes, embeddings = _read(path)
            places = [wanted.pop(digest.tobytes(), -1) for digest in hashes.numpy()]
            found = torch.tensor(places, dtype=torch.int64)
            if bool((found >= 0).any()):
                parts.append((found[found >= 0], embeddings[found >= 0]))
        return parts

    def write(self, texts: Sequence[str], embeddings: Float[Tensor, "texts r"]) -> None:
        """Keep the embeddings of these texts.

        Raises:
            OSError: If the file cannot be written.
        """
        from safetensors.torch import save_file

        joined = bytearray(b"".join(map(_hash, texts)))
        hashes = torch.frombuffer(joined, dtype=torch.uint8).view(-1, _HASH_BYTES)
        embeddings = embeddings.contiguous()
        checksum = {"sha256": _checksum(hashes, embeddings)}
        with atomic_path(self.folder / f"{uuid.uuid4().hex}.safetensors") as path:
            save_file({"hashes": hashes, "embeddings": embeddings}, path, checksum)


def _read(path: Path) -> tuple[UInt8[Tensor, "texts 32"], Float[Tensor, "texts r"]]:
    """Return hashes and embeddings; none, with a warning, if the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            hashes, embeddings = file.get_tensor("hashes"), file.get_tensor("embeddings")
            whole = (file.metadata() or {}).get("sha256") == _checksum(hashes, embeddings)
    except (SafetensorError, OSError):
        whole = False
        hashes = embeddings = torch.empty(0)
    if whole:
        return hashes, embeddings
    warnings.warn(
        "a file of the cache of embeddings is damaged and was removed; its texts are embedded "
        "again",
        stacklevel=4,
    )
    path.unlink(missing_ok=True)
    return torch.empty(0, _HASH_BYTES, dtype=torch.uint8), torch.empty(0, 0)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _checksum(hashes: Tensor, embeddings: Tensor) -> str:
    digest = hashlib.sha256(hashes.numpy().tobytes())
    digest.update(embeddings.numpy().tobytes())
    return digest.hexdigest()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
