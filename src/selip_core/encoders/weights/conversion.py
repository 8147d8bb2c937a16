"""Pickled files of PyTorch into safetensors, unpickled in a process of its own."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from selip_core._version import __version__
from selip_core.encoders.weights.file import read_weights
from selip_core.encoders.weights.formats.by_name import recognised_formats
from selip_core.files import atomic_path

LIMIT_BYTES = 32 * 2**30
_PROGRAM = Path(__file__).with_name("unpickling.py")


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    Attributes:
        key: Where in the file the tensors were; empty if at the top.
        tensors: How many names the new file has.
        shared: How many of them stand for the tensor of another name, which is written once.
        values: How many numbers it holds.
        types: Their types.
        formats: The formats that the names are of; none, or several, if that is open.
    """

    key: str
    tensors: int
    shared: int
    values: int
    types: tuple[str, ...]
    formats: tuple[str, ...]

    def __str__(self) -> str:
        """Return a table of two columns."""
        shared = f", {self.shared} of them names for another's" if self.shared else ""
        rows = {
            "key": self.key or "none: tensors were at the top",
            "tensors": f"{self.tensors}{shared}",
            "parameters": f"{self.values:,} ({', '.join(self.types)})",
            "format": " or ".join(self.formats) or "none that is known",
        }
        return "\n".join(f"{name:<12}{text}" for name, text in rows.items())


def convert_weights(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    key: str | None = None,
    prefix: str = "",
    overwrite: bool = False,
    limit_bytes: int = LIMIT_BYTES,
) -> Conversion:
    """Turn a pickled file of PyTorch that you trust into safetensors.

    The file is unpickled in a subprocess, by the unpickler that knows tensors and plain containers
    only; code in the file is refused, never run, and common settings are skipped. Values keep their
    types. The header of the new file tells the SHA-256 of the old one, the prefix that was taken
    off and the version of this library, no path.

    Args:
        source: A file that ``torch.save`` wrote: .pth, .pt, .ckpt, .bin.
        target: The file to write, ending in ``.safetensors``.
        key: Where in the file the state dict is, such as ``"state_dict"`` or
            ``"model.state_dict"``; needed only if several dictionaries of tensors are there.
        prefix: Only names that begin with it are kept, without it.
        overwrite: Whether ``target`` is replaced if it is there.
        limit_bytes: Most that the file may unpack to.

    Raises:
        ValueError: If the file is none of PyTorch, needs code to be read, is too large, or does not
            show which tensors are meant; or if ``target`` is there or has another ending.
        OSError: If a file cannot be read or written.

    Example:
        >>> import tempfile, torch
        >>> folder = Path(tempfile.mkdtemp())
        >>> torch.save({"state_dict": {"module.conv1.weight": torch.zeros(2)}}, folder / "a.pth")
        >>> print(convert_weights(folder / "a.pth", folder / "a.safetensors"))
        key         state_dict
        tensors     1
        parameters  2 (float32)
        format      none that is known
    """
    source, target = Path(source), Path(target)
    _require_target(source, target, overwrite)
    with source.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    task = {
        "source": str(source.resolve()),
        "key": key,
        "prefix": prefix,
        "limit_bytes": limit_bytes,
        "metadata": {"source_sha256": digest, "converted_by": f"selip-core {__version__}"},
    }
    with atomic_path(target) as temporary:
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        answer = _unpickle(task | {"target": str(temporary.resolve())}, source)
        formats = recognised_formats(read_weights(temporary).tensors, prefix)
        temporary.chmod(mode)  # that of a new file; safetensors makes one for its owner alone
    answer["types"] = tuple(answer["types"])
    return Conversion(**answer, formats=tuple(formats))


def _require_target(source: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != ".safetensors":
        raise ValueError(f"{target} must end in .safetensors")
    if target.exists() and not overwrite:
        raise ValueError(
            f"{target} is there already; choose another name, or --force to replace it"
        )
    if not target.parent.is_dir():
        raise ValueError(f"{target}: there is no folder {target.parent}; make it first")
    if target.exists() and target.samefile(source):
        raise ValueError(f"{target} is the file to be converted; choose another name")


def _unpickle(task: dict[str, Any], source: Path) -> dict[str, Any]:
    # -P: the program's own folder stays off the path, so none of its neighbours is imported.
    done = subprocess.run(
        [sys.executable, "-P", str(_PROGRAM)],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(
            f"{source} could not be read: the process that unpickles it ended with code "
            f"{done.returncode} ({last}); is there memory enough?"
        ) from error
    if "error" in answer:
        raise ValueError(f"{source} {answer['error']}")
    return answer
