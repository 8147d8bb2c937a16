"""Everything that training carries from step to step, as named tensors and JSON."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def state_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Weights and buffers, AdamW's moments, and the states of torch's generators.

    Parameters without gradient are left out: a frozen backbone is read from where it came.
    """
    frozen = _frozen_names(model)
    tensors = {
        f"model.{name}": tensor for name, tensor in model.state_dict().items() if name not in frozen
    }
    for place, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": tensor for name, tensor in moments.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    for index in range(torch.cuda.device_count()):
        tensors[f"random.cuda.{index}"] = torch.cuda.get_rng_state(index)
    return tensors


def restore_tensors(model: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what ``state_tensors`` took.

    Raises:
        ValueError: If the weights are not those of this model.
    """
    result = model.load_state_dict(_under("model.", tensors), strict=False)
    if result.unexpected_keys or set(result.missing_keys) != _frozen_names(model):
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
    for index in range(torch.cuda.device_count()):
        torch.cuda.set_rng_state(tensors[f"random.cuda.{index}"], index)


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


def _frozen_names(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if not value.requires_grad}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
