"""What a cached step needs of a model, its wrappers and the other ranks."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

# Settings of DistributedDataParallel that do not go with no_sync: the graph of a chunk before the
# last is not that of the last, and gradients that are reduced by a hook are reduced every time.
_WITHOUT_NO_SYNC: dict[str, Callable[[Any], bool]] = {
    "static_graph": lambda wrapper: bool(wrapper.static_graph),
    "delay_all_reduce_named_params": lambda wrapper: bool(wrapper._delay_all_reduce_params),
}


def check_wrappers(model: nn.Module) -> None:
    """Raise a ValueError if a DistributedDataParallel cannot wait for the last chunk."""
    for name, module in model.named_modules():
        if not isinstance(module, DistributedDataParallel):
            continue
        where = f"DistributedDataParallel{f' at {name}' if name else ''}"
        for setting, is_set in _WITHOUT_NO_SYNC.items():
            if is_set(module):
                raise ValueError(
                    f"{where} must synchronise the gradients of the last chunk alone, which torch "
                    f"does not do with {setting}: leave {setting} out, or take the batch in one "
                    "piece"
                )


def check_synchronised(model: nn.Module) -> None:
    """Raise an error now that torch would raise in the next step, after an update gone wrong."""
    for module in model.modules():
        if isinstance(module, DistributedDataParallel):
            try:
                module._check_reducer_finalized()  # type: ignore[no-untyped-call]
            except RuntimeError as error:
                raise RuntimeError(
                    "every parameter must have a gradient in the last chunk, or "
                    "DistributedDataParallel does not synchronise it: if some chunks do not use "
                    "all parameters, wrap the model with find_unused_parameters=True"
                ) from error


def check_batch_statistics(model: nn.Module) -> None:
    """Raise a ValueError if a layer normalises by statistics of the batch."""
    looking = (
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)
    )
    names = list(islice(looking, 3))
    if names:
        raise ValueError(
            "model must not normalise by statistics of the batch, which chunks do not have, got "
            f"batch normalisation at {names}: freeze the statistics by calling eval() on these "
            "modules after model.train(), or use GroupNorm"
        )


def check_equal_chunks(model: nn.Module, chunks: int) -> None:
    """Raise a ValueError on every rank of a sharded model unless all have equally many chunks.

    A rank with fewer chunks would leave the others waiting for its part of the parameters, or abort
    them. One small exchange for each group of processes; none for a model that is not sharded.
    """
    groups, device = _sharding_groups(model)
    most = torch.tensor([chunks, -chunks], device=device)
    for group in groups:
        dist.all_reduce(most, dist.ReduceOp.MAX, group=group)
    highest, negated_lowest = most.tolist() if groups else (chunks, -chunks)
    if highest != -negated_lowest:
        raise ValueError(
            "the ranks of a sharded model must have equally many chunks, got between "
            f"{-negated_lowest} and {highest}, {chunks} on this rank: give every rank as many "
            "rows, or choose chunk_size so that the numbers of chunks are equal"
        )


def _sharding_groups(model: nn.Module) -> tuple[list[Any], torch.device]:
    """Return the groups that the first sharded part of a model is sharded over, and its device.

    By attributes: importing the classes of sharding takes seconds.
    """
    for parameter in model.parameters():
        mesh: Any = getattr(parameter, "device_mesh", None)
        if mesh is not None:
            return [mesh.get_group(dimension) for dimension in range(mesh.ndim)], parameter.device
    for module in model.modules():
        if type(module).__name__ == "FullyShardedDataParallel":
            return [module.process_group], next(module.parameters()).device
    return [], torch.device("cpu")
