"""A program of its own: tensors out of a pickled file of PyTorch, into safetensors.

This is the only file of the library that calls ``torch.load``, and no process of the library
imports it: ``selip convert-weights`` runs it as a subprocess. The unpickler is PyTorch's for
weights only, which knows tensors and plain containers and refuses every other class and function.
Training programs like to store more: numbers of numpy are allowed besides, and classes known to
hold settings only, such as ``argparse.Namespace``, are not looked up at all: an object that keeps
nothing stands in for each of theirs.

It reads its task as JSON from standard input and writes what it did, or what was wrong, as JSON to
standard output. It imports nothing of the library, so all of it is in this one file.
"""

import io
import json
import pickletools
import re
import sys
import tarfile
import textwrap
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

Json = dict[str, Any]
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_DETAIL = re.compile(r"WeightsUnpickler error:\s*(.+)")
_NO_WEIGHTS = re.compile(r"optim|scheduler|scaler|callback|rng", re.IGNORECASE)
_NUMBERS = "?bBhHiIlLqQefdUS"  # and text, which only arrays here are of
_PROTOCOL = 2
_DEEPEST = 3
_SHOWN = 10

_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
_NODES = ("Any", "Integer", "Float", "String", "Boolean", "Path", "Bytes", "Enum", "Interpolation")
SETTINGS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta")),
    "torch.torch_version.TorchVersion",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.base.{name}" for name in ("Metadata", "ContainerMetadata")),
    *(f"omegaconf.nodes.{name}Node" for name in _NODES),
    "typing.Any",
    *(
        f"builtins.{kind.__name__}"
        for kind in (bool, dict, float, frozenset, int, list, str, tuple)
    ),
)
"""Classes, and how arrays are made, whose objects :class:`Unread` stands in for."""

DICTIONARIES = (
    "collections.defaultdict",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "yacs.config.CfgNode",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
"""Dictionaries that :class:`Dictionary` stands in for."""

_DATA = "abc collections dataclasses datetime decimal enum fractions pathlib typing uuid"
DATA_MODULES = frozenset(_DATA.split())
"""Of the standard library, modules of plain data. What needs another wants to run something."""

DATA_CLASSES = frozenset(
    {"date", "datetime", "defaultdict", "deque", "time", "timedelta", "timezone", "tzinfo"}
)
"""Classes of these modules whose names are in lower case, as those of functions are."""

_OLD = "commands copy_reg cPickle dl exceptions imp new os2 pipes popen2 thread distutils nt ce"
OLD_MODULES = frozenset([*_OLD.split(), *IMPORT_MAPPING])
"""Of the standard library under other names: those of Python 2, which pickles up to protocol 2 use,
and those that are gone or of another system."""

_HIDDEN = "a name that the file hides"
_STRINGS = frozenset(
    {
        *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    }
)
_PICKLES_OF_OLD_FILES = 5  # magic number, protocol, system, the content, keys of the storages


class RefusedError(ValueError):
    """What was needed, what came, what to do; the path comes before it."""


class Unread:
    """Stands in for an object beside the tensors: takes what is pickled of it, keeps nothing."""

    __slots__ = ()

    def __new__(cls, *_: Any) -> "Unread":
        """Make one, whatever it would be made of."""
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Keep nothing."""


class Dictionary:
    """Stands in for dictionaries of other classes: makes one that weights may be in."""

    def __new__(cls, *_: Any) -> Any:
        """Make one of a class that PyTorch fills."""
        return OrderedDict()


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
    if task["prefix"]:
        metadata["prefix"] = task["prefix"]
    try:
        save_file(tensors, task["target"], metadata)
    except (OSError, SafetensorError) as error:
        cause = str(error).partition(" at path")[0]  # the path is that of a temporary file
        raise RefusedError(f"was read, but the new file could not be written: {cause}") from error
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
    require_pytorch(path)
    is_zip = zipfile.is_zipfile(path)
    size = path.stat().st_size
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(member.file_size for member in archive.infolist()))
    require_size(size, limit_bytes)
    with torch.serialization.safe_globals([*numpy_numbers(), *stand_ins()]):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
        except Exception as error:
            raise RefusedError(reason(str(error), path)) from error


def require_pytorch(path: Path) -> None:
    """Refuse what no ``torch.save`` wrote, by how it begins."""
    with path.open("rb") as file:
        start = file.read(64)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("data.pkl") for name in archive.namelist()):
                return
        what = "it is another zip archive; if the weights are in it, unpack it first"
    elif start.startswith(_LEGACY):
        return
    elif not start:
        what = "it is empty; fetch it again"
    elif start.startswith(b"PK"):
        raise RefusedError("breaks off, as a download does that was cut short; fetch it again")
    elif start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        what = "it begins with '<': is it an HTML page that a download gave in its place?"
    elif start.startswith(b"version https://git-lfs"):
        what = "it only points to one; fetch the file itself by git lfs pull"
    elif start[8:9] == b"{":
        what = "it looks like safetensors already; give it that ending"
    elif tarfile.is_tarfile(path):
        what = "it is a tar archive; if the weights are in it, unpack it first"
    elif start.startswith(b"\x80"):
        what = "it is a pickle of something else; ask for what torch.save writes of a state dict"
    else:
        what = "it begins like none; fetch it again, and look at its size"
    raise RefusedError(f"is no file of torch.save: {what}")


def stand_ins() -> list[Any]:
    """Return what is made in place of objects that hold settings."""
    return [
        *((Unread, name) for name in SETTINGS),
        *((Dictionary, name) for name in DICTIONARIES),
    ]


def numpy_numbers() -> list[Any]:
    """Return what a pickled number of numpy is made of, under its old and its new name."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    types = {type(np.dtype(code)) for code in _NUMBERS}
    return [*((scalar, name) for name in names), np.dtype, *types]


def reason(message: str, path: Path) -> str:
    """Return why a file was refused, without PyTorch's advice to read it anyhow."""
    if "TorchScript" in message:
        return "is a TorchScript program, not weights; ask for the state dict"
    found, protocol = needed(path)
    found = found or sorted(set(_GLOBAL.findall(message)))
    names = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" * (len(found) > _SHOWN))
    if any(map(is_warning, found)):
        return (
            f"needs code to be read, and was refused: {names}. Only tensors and plain containers "
            "are read here. Do not trust such a file, and do not read it by other means; ask for "
            "the state dict alone"
        )
    if any(name.startswith("torch.nn.") for name in found):
        return (
            f"is a whole pickled network, not its weights: it needs {names}. {ask('.state_dict()')}"
        )
    if found:
        return (
            f"needs code to be read, and was refused: {names}. Only tensors, plain containers and "
            "known settings are read here; any other class can run whatever its author wrote. "
            f"{ask('[KEY]')}"
        )
    if protocol > _PROTOCOL:
        return (
            f"was refused: it is pickled by protocol {protocol}, and only protocol {_PROTOCOL}, "
            f"the default of torch.save, is read here. {ask('')}"
        )
    detail = textwrap.shorten(" ".join(_DETAIL.findall(message)[:1]), 200, placeholder=" ...")
    shown = f" ({detail})" if detail else ""
    return f"was refused: it is damaged, or holds what no state dict does{shown}; fetch it again"


def ask(weights: str) -> str:
    """Return what to ask for, and the line that writes it where the file was made."""
    where = ", KEY being where its state dict is" if "KEY" in weights else ""
    line = f"torch.save(torch.load(FILE, map_location='cpu', weights_only=False){weights}, OUT)"
    return (
        "Ask the author of the file for the state dict alone; where it was made, this writes it"
        f"{where}: {line}"
    )


def needed(path: Path) -> tuple[list[str], int]:
    """Return what a file needs besides what is allowed, and its protocol; nothing is run."""
    names: set[str] = set()
    protocol = 0
    for file, count in pickles(path):
        for _ in range(count):
            try:
                protocol = max(protocol, scan(file, names))
            except Exception:  # damaged, or cut short
                break
    return sorted(names - allowed()), protocol


def pickles(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Yield where pickles are in a file of PyTorch, and how many follow each other there."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield file, _PICKLES_OF_OLD_FILES
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".pkl"):
                yield io.BytesIO(archive.read(name)), 1


def scan(file: BinaryIO, names: set[str]) -> int:
    """Add the names of classes and functions that one pickle looks up; return its protocol.

    The operations are read and none is done. A name that is not written where it is looked up,
    but put together on the way, is called hidden.
    """
    protocol = 0
    memo: dict[int, str | None] = {}
    last: list[str | None] = [None, None]
    operations: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(file)
    for operation, argument, _ in operations:
        kind = operation.name
        if kind in ("GLOBAL", "INST"):
            names.add(modern(*str(argument).split(" ", 1)))
        elif kind == "STACK_GLOBAL":
            names.add(modern(*last) if None not in last else _HIDDEN)  # type: ignore[arg-type]
        elif kind.startswith("EXT"):
            names.add(f"copyreg.extension_{argument}")
        if kind == "PROTO":
            protocol = int(argument)
        elif kind == "MEMOIZE" or kind.endswith("PUT"):
            memo[len(memo) if argument is None else int(argument)] = last[-1]
        elif kind.endswith("GET"):
            last = [last[-1], memo.get(int(argument))]
        elif kind != "FRAME":
            last = [last[-1], str(argument) if kind in _STRINGS else None]
    return protocol


def modern(module: str, name: str) -> str:
    """Return the name in Python 3 of what Python 2 had under another."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def allowed() -> set[str]:
    """Return the names that PyTorch's unpickler for weights knows, ours included."""
    unpickler: Any = torch._weights_only_unpickler

    with torch.serialization.safe_globals([*numpy_numbers(), *stand_ins()]):
        ours = unpickler._get_user_allowed_globals()
        return {*unpickler._get_allowed_globals(), *ours}


def is_warning(name: str) -> bool:
    """Return whether only a file that wants to do something needs this."""
    if name == _HIDDEN:
        return True
    path, _, last = name.removeprefix("builtins.").rpartition(".")
    module = path.partition(".")[0]
    if module in DATA_MODULES:
        return not (last[:1].isupper() or last in DATA_CLASSES)  # a function of theirs
    return not module or module in sys.stdlib_module_names | OLD_MODULES


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
            f"unpacks to {gibibytes(size)}, and the limit is {gibibytes(limit_bytes)}; "
            "raise it if so much is expected"
        )


def gibibytes(count: int) -> str:
    """Return a size, four digits of it."""
    return f"{count / 2**30:.4g} GiB"


if __name__ == "__main__":
    sys.exit(main())
