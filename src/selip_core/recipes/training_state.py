"""Collect and restore the state of training that a checkpoint holds: tensors and JSON.

Names carry the rank of the process they belong to where each process has a value, as the states of
random generators: ``random.cpu.rank0``. Weights and moments are equal on all ranks and come once.
"""

import logging
import random
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selip_core.encoders import ImageEncoder, WeightsSource

_CPU = "random.cpu.rank0"
_GPUS = "random.cuda.rank0."
_logger = logging.getLogger(__name__)


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
    tensors[_CPU] = torch.get_rng_state()
    for index in range(torch.cuda.device_count()):
        tensors[f"{_GPUS}{index}"] = torch.cuda.get_rng_state(index)
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
    torch.set_rng_state(tensors[_CPU])
    gpus, written = torch.cuda.device_count(), len(_under(_GPUS, tensors))
    for index in range(min(gpus, written)):
        torch.cuda.set_rng_state(tensors[f"{_GPUS}{index}"], index)
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
