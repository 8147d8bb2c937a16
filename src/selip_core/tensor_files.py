"""Files of named tensors in safetensors, with a digest of their content."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from selip_core.files import writing

if TYPE_CHECKING:
    from torch import Tensor

_DIGEST = "content_sha256"
_BLOCK_BYTES = 2**24


def save_tensors(
    tensors: "Mapping[str, Tensor]",
    path: str | os.PathLike[str],
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write tensors as safetensors, with a SHA-256 of names, types, shapes, values and facts.

    The file gets the permissions that the process's umask gives any new file. It is not written
    atomically: wrap the call in :func:`selip_core.files.atomic_path` or write into an
    :func:`~selip_core.files.atomic_folder`.

    Args:
        tensors: By name; on any device, of any layout. Tied tensors are written for each name.
        path: The file.
        facts: Strings to keep in the header, besides the digest.

    Raises:
        WriteError: If the file cannot be written.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> save_tensors({"weight": torch.ones(2)}, path, {"epoch": "3"})
        >>> load_tensors(path)
        ({'weight': tensor([1., 1.])}, {'epoch': '3'})
    """
    from safetensors.torch import save_file

    path, facts = Path(path), dict(facts or {})
    whole = _separate(tensors)
    with writing(path):
        path.touch()
        mode = path.stat().st_mode & 0o777
        save_file(whole, path, {**facts, _DIGEST: content_digest(whole, facts)})
        path.chmod(mode)  # safetensors replaces the file by one that only its owner can read


def load_tensors(path: str | os.PathLike[str]) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Return the tensors and facts that :func:`save_tensors` wrote.

    Raises:
        ValueError: If the content is not what was written: cut short, edited or damaged, or
            written by another program.
        OSError: If the file cannot be opened or read. This does not mean that it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with path.open("rb") as file:
        while file.read(_BLOCK_BYTES):
            pass  # a block that cannot be read is an OSError here, but kills who maps the file
    try:
        with safe_open(path, framework="pt") as opened:
            facts = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    written = facts.pop(_DIGEST, None)
    if written is None:
        raise ValueError(f"{path} carries no digest of its content, so it cannot be trusted")
    if content_digest(tensors, facts) != written:
        raise ValueError(f"{path} is damaged: its content has another SHA-256 than was written")
    return tensors, facts


def content_digest(tensors: "Mapping[str, Tensor]", facts: Mapping[str, str] | None = None) -> str:
    """Return a SHA-256 of names, types, shapes, values and facts, in any order of the names.

    Example:
        >>> import torch
        >>> first = content_digest({"a": torch.zeros(2), "b": torch.ones(1)})
        >>> first == content_digest({"b": torch.ones(1), "a": torch.zeros(2)})
        True
        >>> first == content_digest({"a": torch.zeros(2), "b": torch.zeros(1)})
        False
    """
    import torch

    digest = hashlib.sha256(json.dumps(sorted((facts or {}).items())).encode())
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().cpu().contiguous()
        header = [name, str(tensor.dtype), list(tensor.shape)]
        digest.update(json.dumps(header).encode() + b"\0")
        flat = tensor.as_strided((tensor.numel(),), (1,))  # one element may have any stride
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _separate(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Return contiguous tensors on the CPU that share no memory, which safetensors refuses."""
    whole: dict[str, Tensor] = {}
    taken = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        start = tensor.untyped_storage().data_ptr()
        whole[name] = tensor.clone() if start in taken else tensor
        taken.add(start)
    return whole
