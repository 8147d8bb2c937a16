"""Checkpoints: all that training carries from step to step, safe from a kill at any moment.

Named tensors in safetensors, the rest in JSON. A checkpoint is written under another name, flushed,
and renamed at once to ``step-00000120``; only then is the one before it removed. Whoever reads
takes the highest step: one is always complete.
"""

import json
import logging
import random
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selip_core.encoders import ImageEncoder, WeightsSource
from selip_core.files import atomic_folder

_TENSORS = "tensors.safetensors"
_SCALARS = "scalars.json"
_logger = logging.getLogger(__name__)


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
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with atomic_folder(target) as partial:
            save_file(contiguous, partial / _TENSORS)
            (partial / _SCALARS).write_text(json.dumps(scalars), encoding="utf-8")
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


def state_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Weights and buffers, AdamW's moments, and the states of torch's generators.

    What a text backbone does not train is left out: it is read from where its tokenizer is. Frozen
    stages of an image encoder are in, as the file that they came from need not stay.
    """
    left_out = _left_out(model)
    tensors = {
        f"model.{name}": tensor
        for name, tensor in model.state_dict().items()
        if name not in left_out
    }
    for place, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": tensor for name, tensor in moments.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    for index in range(torch.cuda.device_count()):
        tensors[f"random.cuda.{index}"] = torch.cuda.get_rng_state(index)
    return tensors


def restore_tensors(model: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what ``state_tensors`` took; of the states of GPUs, those of GPUs that are here.

    Raises:
        ValueError: If the weights are not those of this model.
    """
    result = model.load_state_dict(_under("model.", tensors), strict=False)
    if result.unexpected_keys or set(result.missing_keys) != _left_out(model):
        raise ValueError(
            "the checkpoint does not fit the model: "
            f"{len(result.unexpected_keys)} of its tensors have no place there; "
            "was it written by another version?"
        )
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer.", tensors).items():
        place, _, key = name.partition(".")
        moments.setdefault(int(place), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(tensors["random.cpu"])
    gpus, written = torch.cuda.device_count(), len(_under("random.cuda.", tensors))
    for index in range(min(gpus, written)):
        torch.cuda.set_rng_state(tensors[f"random.cuda.{index}"], index)
    if gpus != written:
        _logger.warning(
            "the checkpoint was written with %d GPUs and is resumed with %d: results may differ "
            "from those of a run that was never stopped",
            written,
            gpus,
        )


def random_scalars() -> dict[str, Any]:
    """The states of Python's and NumPy's global generators, as JSON can hold them."""
    version, internal, gaussian = random.getstate()
    kind, keys, position, has_gaussian, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(internal), gaussian],
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gaussian, cached],
    }


def restore_random_scalars(scalars: dict[str, Any]) -> None:
    """Put back what ``random_scalars`` took."""
    version, internal, gaussian = scalars["python"]
    random.setstate((version, tuple(internal), gaussian))
    kind, keys, position, has_gaussian, cached = scalars["numpy"]
    state = (kind, np.array(keys, dtype=np.uint32), position, has_gaussian, cached)
    np.random.set_state(state)  # noqa: NPY002


def source_scalars(image_encoder: nn.Module) -> dict[str, Any]:
    """Where pretrained weights of the image encoder came from, for the card of the model."""
    if not isinstance(image_encoder, ImageEncoder) or image_encoder.spec.weights is None:
        return {}
    return {"weights": asdict(image_encoder.spec.weights)}


def restore_source(image_encoder: nn.Module, scalars: dict[str, Any]) -> None:
    """Put back what ``source_scalars`` took."""
    if isinstance(image_encoder, ImageEncoder) and "weights" in scalars:
        source = WeightsSource(**scalars["weights"])
        image_encoder.spec = replace(image_encoder.spec, weights=source)


def _left_out(model: nn.Module) -> set[str]:
    return {
        name
        for name, value in model.named_parameters()
        if name.startswith("text_encoder.") and not value.requires_grad
    }


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
