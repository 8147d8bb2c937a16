"""A file of safetensors, read whole and checked."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from selip_core.encoders.trained import PICKLED, pickled_error
from selip_core.encoders.weights.layout import Tensors

ALIASES = "aliases"
"""Where a header tells, as JSON, which names stand for the tensor of another name."""

_ZIP, _PICKLE = b"PK", b"\x80"
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        path: The file.
        tensors: Its tensors by name.
        metadata: What its header tells besides.
    """

    path: Path
    tensors: Tensors
    metadata: dict[str, str]


def read_weights(path: str | os.PathLike[str]) -> WeightsFile:
    """Return the tensors of a file of safetensors and what its header tells.

    Tensors that ``selip convert-weights`` wrote once for several names stand under each of them.

    Raises:
        ValueError: If it is no path, pickled, no file of safetensors, or damaged.
        OSError: If it cannot be read.

    Example:
        >>> import tempfile, torch
        >>> from safetensors.torch import save_file
        >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
        >>> save_file({"a": torch.zeros(2)}, path)
        >>> read_weights(path).tensors
        {'a': tensor([0., 0.])}
    """
    from safetensors import SafetensorError, safe_open

    path = require_path(path)
    if not path.exists():
        raise missing_error(path, "a file of safetensors")
    _require_safetensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no file of safetensors ({error}); fetch or convert it again"
        ) from error
    aliases = _aliases(path, metadata, tensors)
    return WeightsFile(
        path, tensors | {name: tensors[kept] for name, kept in aliases.items()}, metadata
    )


def require_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of weights.

    Raises:
        ValueError: If it is none, such as tensors themselves.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(
            f"path must be that of a file, got {type(path).__name__}: put the tensors of a state "
            "dict into one by safetensors.torch.save_file(state_dict, 'weights.safetensors'), or "
            "give them to encoder.load_state_dict if this very network wrote them"
        )
    return Path(path)


def missing_error(path: Path, wanted: str) -> FileNotFoundError:
    """Return the error of weights that are not where they were said to be."""
    start = "" if path.is_absolute() else ", which starts at the current folder"
    return FileNotFoundError(
        f"there is no {path}: expected {wanted}; check the path{start}, or fetch the weights first"
    )


def _aliases(path: Path, metadata: dict[str, str], tensors: Tensors) -> dict[str, str]:
    try:
        aliases = json.loads(metadata.get(ALIASES, "{}"))
    except ValueError:
        aliases = None
    if not isinstance(aliases, dict) or not all(
        isinstance(kept, str) and kept in tensors for kept in aliases.values()
    ):
        raise ValueError(
            f"{path} is damaged: {ALIASES!r} in its header must be a JSON object of the names of "
            "tensors in the file, by further names for them; fetch or convert it again"
        )
    return aliases


def _require_safetensors(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(len(_LFS))
    if start == _LFS:
        raise ValueError(
            f"{path} only points to the weights: fetch the file itself by `git lfs pull`"
        )
    # A header of JSON follows its length in 8 bytes, which may be any bytes.
    is_safetensors = start[8:9] == b"{"
    is_pickled = path.suffix.lower() in PICKLED or start.startswith((_ZIP, _PICKLE))
    if is_pickled and not is_safetensors:
        raise pickled_error(path)
