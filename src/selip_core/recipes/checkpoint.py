"""Checkpoints on disk: complete or not there at all, with a digest of all that they hold.

A checkpoint is a folder such as ``step-00000120``: tensors as safetensors, the rest as JSON. It is
written under another name, flushed, and renamed. The one before it stays until the next is written,
for the case that the disk damages the newer one.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from selip_core._version import __version__
from selip_core.digests import json_digest
from selip_core.files import atomic_folder
from selip_core.interruption import held_signals
from selip_core.tensor_files import load_tensors, save_tensors

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors and scalars of a checkpoint."""

_FORMAT = 2
_KEPT = 2
_TENSORS = "tensors.safetensors"
_SCALARS = "scalars.json"
_logger = logging.getLogger(__name__)


def save_checkpoint(
    folder: Path, step: int, tensors: dict[str, Tensor], scalars: dict[str, Any]
) -> Path:
    """Write a checkpoint whole or not at all and return its path; this and the one before it stay.

    Args:
        folder: Holds the checkpoints of one run.
        step: Optimizer steps taken; a checkpoint of the same step is replaced.
        tensors: Named tensors, on any device.
        scalars: Anything JSON can hold.

    Raises:
        WriteError: If it cannot be written; those written before stay.

    Example:
        >>> import tempfile, torch
        >>> folder = Path(tempfile.mkdtemp()) / "checkpoint"
        >>> save_checkpoint(folder, 3, {"weight": torch.ones(2)}, {"epoch": 1}).name
        'step-00000003'
        >>> load_checkpoint(folder)
        ({'weight': tensor([1., 1.])}, {'epoch': 1})
    """
    target = folder / f"step-{step:08d}"
    digest = json_digest(scalars)
    content = {
        "format": _FORMAT,
        "written_by": f"selip-core {__version__}",
        "processes": 1,
        "sha256": digest,
        "scalars": scalars,
    }
    with atomic_folder(target, replace=target.exists()) as partial:
        save_tensors(tensors, partial / _TENSORS, {"scalars_sha256": digest})
        (partial / _SCALARS).write_text(json.dumps(content), encoding="utf-8")
    for other in _complete(folder)[:-_KEPT]:
        shutil.rmtree(other, ignore_errors=True)
    return target


def load_checkpoint(folder: Path) -> State | None:
    """Return tensors and scalars of the last checkpoint, or None where there is none.

    A damaged one is passed over with a warning, and its folder gets another name; the one before it
    counts. Only the process that holds the lock of the run may call this.

    Raises:
        ValueError: If no checkpoint is whole, or one has another format.
        OSError: If a file cannot be read, which says nothing about its content.
        Interrupted: On a signal, once the file at hand is read.
    """
    damages = []
    for path in reversed(_complete(folder)):
        try:
            with held_signals():
                state = _load(path)
        except _DamageError as damage:
            damages.append((path, str(damage)))
            continue
        _set_aside(damages, path)
        return state
    if damages:
        raise ValueError(
            f"{folder} holds no checkpoint that is whole; put back a copy of one, or start in "
            "another folder:\n  " + "\n  ".join(f"{path.name}: {why}" for path, why in damages)
        )
    return None


def has_checkpoint(folder: Path) -> bool:
    """Return whether there is a checkpoint, whole or damaged."""
    return bool(_complete(folder))


class _DamageError(Exception):
    """The content of a checkpoint is not what was written."""


class _FormatError(ValueError):
    """A checkpoint of another version."""


def _complete(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _load(path: Path) -> State:
    try:
        content = _load_content(path)
        tensors, facts = load_tensors(path / _TENSORS)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise _DamageError(f"{Path(error.filename).name} is missing") from None
    except (_DamageError, _FormatError):
        raise
    except ValueError as error:  # of the tensors
        raise _DamageError(str(error)) from None
    if facts.get("scalars_sha256") != content["sha256"]:
        raise _DamageError(f"{_TENSORS} and {_SCALARS} are of two checkpoints")
    return tensors, content["scalars"]


def _load_content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads((path / _SCALARS).read_text(encoding="utf-8"))
    except ValueError:  # of JSON or of UTF-8
        raise _DamageError(f"{_SCALARS} is cut or edited: it is no JSON") from None
    if isinstance(content, dict) and "format" not in content and "position" in content:
        content["format"] = 1  # which had no envelope
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise _DamageError(f"{_SCALARS} is cut or edited: it names no format")
    if content["format"] != _FORMAT:
        raise _FormatError(
            f"{path} has format {content['format']} and this version, selip-core {__version__}, "
            f"reads format {_FORMAT}; finish the run with the version that started it "
            f"({content.get('written_by', 'an earlier one')}), or start in another folder"
        )
    if content.get("processes") != 1:
        raise _FormatError(
            f"{path} was written by {content.get('processes')} processes and cannot be resumed by 1"
        )
    if not isinstance(content.get("scalars"), dict) or (
        json_digest(content["scalars"]) != content.get("sha256")
    ):
        raise _DamageError(f"{_SCALARS} has another SHA-256 than was written")
    return content


def _set_aside(damages: list[tuple[Path, str]], used: Path) -> None:
    for path, why in damages:
        aside = path.with_name(f"damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        _logger.warning(
            "the checkpoint %s is damaged (%s) and now named %s: delete it when you have seen it; "
            "the run goes on from %s, the one before it",
            path,
            why,
            aside.name,
            used.name,
        )
