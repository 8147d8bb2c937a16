"""Checkpoints that a kill at any moment cannot spoil: safetensors and JSON, one rename.

A checkpoint is written under another name, flushed, and renamed at once to ``step-00000120``; only
then is the one before it removed. Whoever reads takes the highest step: one is always complete.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

_TENSORS = "tensors.safetensors"
_SCALARS = "scalars.json"


def save_checkpoint(
    folder: Path, step: int, tensors: dict[str, Tensor], scalars: dict[str, Any]
) -> Path:
    """Write a checkpoint whole or not at all, then remove older ones; returns its path.

    Args:
        folder: Holds the checkpoints of one run.
        step: Optimiser steps taken; a checkpoint of this step that stands already is kept.
        tensors: Named tensors, on any device.
        scalars: Anything JSON can hold.

    Example:
        >>> import tempfile, torch
        >>> folder = Path(tempfile.mkdtemp()) / "checkpoint"
        >>> save_checkpoint(folder, 3, {"weight": torch.ones(2)}, {"epoch": 1}).name
        'step-00000003'
        >>> load_checkpoint(folder)
        ({'weight': tensor([1., 1.])}, {'epoch': 1})
    """
    from safetensors.torch import save_file

    target = folder / f"step-{step:08d}"
    if not target.exists():
        partial = folder / f".partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, partial / _TENSORS)
        (partial / _SCALARS).write_text(json.dumps(scalars), encoding="utf-8")
        for path in (partial / _TENSORS, partial / _SCALARS):
            _flush(path)
        partial.rename(target)
        if os.name == "posix":  # the new name must be on the disk before older ones are removed
            _flush(folder)
    for other in folder.iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
    return target


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and scalars of the last complete checkpoint, or None where there is none."""
    from safetensors.torch import load_file

    complete = sorted(folder.glob("step-*"))
    if not complete:
        return None
    scalars = json.loads((complete[-1] / _SCALARS).read_text(encoding="utf-8"))
    return load_file(complete[-1] / _TENSORS), scalars


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
