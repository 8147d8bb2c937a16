"""A program of its own: tensors out of a pickled file of PyTorch, into safetensors.

This is the only file of the library that calls ``torch.load``, and no process of the library
imports it: ``selip convert-weights`` runs it as a subprocess. The unpickler is PyTorch's for
weights only, which knows tensors and plain containers and refuses every other class and function;
numbers of numpy, which training programs like to log, are allowed besides.

It reads its task as JSON from standard input and writes what it did, or what was wrong, as JSON to
standard output.
"""

import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

Json = dict[str, Any]
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_NO_WEIGHTS = re.compile(r"optim|scheduler|scaler|callback|rng", re.IGNORECASE)
_NUMBERS = "?bBhHiIlLqQefd"
_DEEPEST = 3
_SHOWN = 10


class RefusedError(ValueError):
    """What was needed, what came, what to do; the path comes before it."""


def main() -> int:
    """Do what standard input asks for."""
    task = json.load(sys.stdin)
    try:
        answer = convert(task)
    except RefusedError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
    return 0


def convert(task: Json) -> Json:
    """Read, choose, write; return what was done."""
    content = read(Path(task["source"]), task["limit_bytes"])
    key, state = choose(content, task["key"])
    named = select(state, task["prefix"])
    require_size(sum(tensor.nbytes for tensor in named.values()), task["limit_bytes"])
    tensors, aliases = separate(named)
    metadata = task["metadata"] | plan_of(content)
    if aliases:
        metadata["aliases"] = json.dumps(aliases)
    try:
        save_file(tensors, task["target"], metadata)
    except (KeyError, ValueError, RuntimeError) as error:
        raise RefusedError(f"holds tensors that safetensors cannot hold: {error}") from error
    return {
        "key": key,
        "tensors": len(tensors) + len(aliases),
        "shared": len(aliases),
        "values": sum(tensor.numel() for tensor in tensors.values()),
        "types": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}),
    }


def read(path: Path, limit_bytes: int) -> Any:
    """Unpickle weights, and nothing else."""
    is_zip = zipfile.is_zipfile(path)
    size = path.stat().st_size
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(member.file_size for member in archive.infolist()))
    require_size(size, limit_bytes)
    try:
        with torch.serialization.safe_globals(numpy_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:
        raise RefusedError(reason(str(error), path, is_zip)) from error


def numpy_numbers() -> list[Any]:
    """Return what a pickled number of numpy is made of, under its old and its new name."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    types = {type(np.dtype(code)) for code in _NUMBERS}
    return [*((scalar, name) for name in names), np.dtype, *types]


def reason(message: str, path: Path, is_zip: bool) -> str:
    """Return why a file was refused, without PyTorch's advice to read it anyhow."""
    if "TorchScript" in message:
        return "is a TorchScript program, not weights; ask for the state dict"
    found = _GLOBAL.findall(message)
    if not found:
        first = (message.splitlines() or ["no message"])[0][:80]
        return f"is no file of torch.save, or it is damaged ({first})"
    if is_zip:
        found = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)) or found
    return (
        f"needs code to be read: {', '.join(found[:_SHOWN])}. Only tensors and plain containers "
        "are read here. Do not trust such a file, and do not read it by other means; ask for the "
        "state dict alone"
    )


def choose(content: Any, key: str | None) -> tuple[str, Mapping[Any, Any]]:
    """Return the dictionary of tensors that is meant, and where it was."""
    found = dict(dictionaries(content))
    if key is not None:
        if key not in found:
            raise RefusedError(f"has no dictionary of tensors under {key!r}; {told(found)}")
        return key, found[key]
    if "" in found:
        return "", found[""]
    if len(found) != 1:
        raise RefusedError(f"does not show which tensors are meant; {told(found)}")
    return next(iter(found.items()))


def told(found: Mapping[str, Any]) -> str:
    """Return the keys that could be meant."""
    names = [name or "the top" for name in found]
    return f"give one of these as key: {names[:_SHOWN]}" if names else "it holds no tensors by name"


def dictionaries(content: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield dictionaries that hold tensors by name; not those of optimisers and the like."""
    if not isinstance(content, Mapping) or depth > _DEEPEST or _NO_WEIGHTS.search(path):
        return
    if any(isinstance(name, str) and is_weight(value) for name, value in content.items()):
        yield path, content
        return
    for name, value in content.items():
        yield from dictionaries(value, f"{path}.{name}" if path else str(name), depth + 1)


def is_weight(value: Any) -> bool:
    """Return whether a value is a tensor with an axis; counters have none."""
    return isinstance(value, torch.Tensor) and value.ndim > 0


def select(state: Mapping[Any, Any], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with the prefix, without it."""
    named = {
        name.removeprefix(prefix): value.detach()
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor) and name.startswith(prefix)
    }
    if not named:
        starts = sorted({str(name).partition(".")[0] for name in state})
        raise RefusedError(
            f"has no name that begins with {prefix!r}; names begin with {starts[:_SHOWN]}"
        )
    sparse = [name for name, tensor in named.items() if tensor.layout != torch.strided]
    if sparse:
        raise RefusedError(
            f"holds sparse tensors, which safetensors cannot hold: {sparse[:_SHOWN]}"
        )
    return named


def separate(
    named: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors, each in memory of its own, and names that stand for another's tensor."""
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    kept: dict[tuple[Any, ...], str] = {}
    memory: set[int] = set()
    for name, tensor in named.items():
        where = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and where in kept:
            aliases[name] = kept[where]
            continue
        kept[where] = name
        own = tensor.contiguous()
        storage = own.untyped_storage()
        is_view = storage.nbytes() != own.nbytes or storage.data_ptr() in memory
        tensors[name] = own.clone() if is_view else own
        memory.add(storage.data_ptr())
    return tensors, aliases


def plan_of(content: Any) -> dict[str, str]:
    """Return the spacing in nnssl's adaptation plan, where there is one."""
    plan: Any = content.get("nnssl_adaptation_plan") if isinstance(content, Mapping) else None
    try:
        configurations = plan["pretrain_plan"]["configurations"].values()
        spacings = {tuple(float(each) for each in one["spacing"]) for one in configurations}
    except (TypeError, KeyError, AttributeError, ValueError):
        return {}
    return {"spacing": json.dumps(spacings.pop())} if len(spacings) == 1 else {}


def require_size(size: int, limit_bytes: int) -> None:
    """Refuse what would not fit."""
    if size > limit_bytes:
        raise RefusedError(
            f"unpacks to {size / 2**30:.1f} GiB, and the limit is {limit_bytes / 2**30:.1f} GiB; "
            "raise it if so much is expected"
        )


if __name__ == "__main__":
    sys.exit(main())
