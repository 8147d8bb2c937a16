"""Gather modules whose parameters ``fully_shard`` has sharded over processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def full_tensor(tensor: Tensor) -> Tensor:
    """Return the whole of a sharded tensor, a collective; any other tensor itself."""
    # By its method: importing the class DTensor takes seconds.
    sharded: Any = tensor
    return sharded.full_tensor() if is_sharded(tensor) else tensor


def own_shard(tensor: Tensor) -> Tensor:
    """Return what this process holds of a sharded tensor, in the same memory; any other itself."""
    sharded: Any = tensor
    return sharded.to_local() if is_sharded(tensor) else tensor


def is_sharded(tensor: Any) -> bool:
    """Return whether a tensor is a ``DTensor``."""
    return hasattr(tensor, "full_tensor")


def require_present(parameter: Tensor, elements: int, name: str) -> None:
    """Raise unless so many values of a parameter are in memory, whole or a shard of a ``DTensor``.

    ``FullyShardedDataParallel`` frees them between two steps; what is read then is any number.

    Raises:
        RuntimeError: If they are not there.
    """
    if is_sharded(parameter):
        return
    if parameter.untyped_storage().nbytes() < elements * parameter.itemsize:
        raise RuntimeError(
            f"{name} must be in memory, and FullyShardedDataParallel holds it elsewhere between "
            "two steps; enter FullyShardedDataParallel.summon_full_params(model) first, on every "
            "rank"
        )


@contextmanager
def gathered(module: nn.Module) -> Iterator[bool]:
    """Give a sharded module its whole parameters for the time of a block, on one rank.

    A collective if a parameter or buffer is sharded: every rank of its mesh enters. On the first
    rank the module is within the block as it was before ``fully_shard``, on the CPU, and on the
    others untouched. They leave when the first rank has left. Any other module is left alone.

    Yields:
        Whether this process is the one that writes.

    Raises:
        ValueError: If the module is wrapped by ``FullyShardedDataParallel``.
        OSError: On the other ranks, if the block raises on the first one.
    """
    _refuse_flat_parameters(module)
    for part in module.modules():
        if _is_fully_sharded(type(part)):
            # After a forward without a backward parameters are whole for the time being.
            part.reshard()  # type: ignore[operator]
    mesh = _mesh_of(module)
    if mesh is None:
        yield True
        return
    writes = not any(mesh.get_coordinate())
    whole = _whole_tensors(module, keep=writes)
    completed = False
    try:
        if writes:
            with _as_if_never_sharded(module, whole):
                yield True
        else:
            yield False
        completed = True
    finally:
        others_completed = _all_completed(completed, mesh)
    if not others_completed:
        raise OSError("the first rank could not write the model; see the error it raised")


def _refuse_flat_parameters(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if hasattr(parameter, "_is_flat_param") or hasattr(parameter, "_fsdp_flattened"):
            raise ValueError(
                f"parameters must be whole or sharded by fully_shard, got {name} of "
                "FullyShardedDataParallel: load FullyShardedDataParallel's full state_dict into a "
                "model that is not wrapped, and save that one"
            )


def _sharded_tensors(module: nn.Module) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Yield the dictionary that holds each sharded parameter or buffer, its name there, itself."""
    for part in module.modules():
        for holder in (part._parameters, part._buffers):
            yield from ((holder, name, each) for name, each in holder.items() if is_sharded(each))


def _mesh_of(module: nn.Module) -> Any:
    """Return the largest mesh that a tensor is sharded over, or None."""
    meshes = [tensor.device_mesh for _, _, tensor in _sharded_tensors(module)]
    return max(meshes, key=lambda mesh: mesh.size(), default=None)


def _whole_tensors(module: nn.Module, *, keep: bool) -> dict[int, Tensor]:
    """Gather one tensor after the other; return them on the CPU by identity, tied ones once."""
    whole: dict[int, Tensor] = {}
    visited = set()
    for _, _, tensor in _sharded_tensors(module):
        if id(tensor) in visited:
            continue
        visited.add(id(tensor))
        gathered_tensor = tensor.detach().full_tensor()
        if keep:
            copy = gathered_tensor.cpu()
            is_parameter = isinstance(tensor, nn.Parameter)
            whole[id(tensor)] = (
                nn.Parameter(copy, requires_grad=tensor.requires_grad) if is_parameter else copy
            )
    return whole


@contextmanager
def _as_if_never_sharded(module: nn.Module, whole: dict[int, Tensor]) -> Iterator[None]:
    sharded = list(_sharded_tensors(module))
    classes = [(part, type(part)) for part in module.modules()]
    try:
        for part, own_class in classes:
            part.__class__ = _original_class(own_class)
        for holder, name, tensor in sharded:
            holder[name] = whole[id(tensor)]
        yield
    finally:
        for holder, name, tensor in sharded:
            holder[name] = tensor
        for part, own_class in classes:
            part.__class__ = own_class


def _is_fully_sharded(own_class: type) -> bool:
    """Return whether ``fully_shard`` has made a class, which inherits ``FSDPModule`` first."""
    return own_class.__bases__[0].__name__ == "FSDPModule"


def _original_class(own_class: type) -> type:
    """Return the class that another was made of, such as ``Linear`` of ``FSDPLinear``."""
    return own_class.__bases__[1] if _is_fully_sharded(own_class) else own_class


def _all_completed(completed: bool, mesh: Any) -> bool:
    """Return whether the block was left without an error on all ranks of a mesh."""
    device = torch.device(mesh.device_type)
    failures = torch.tensor(float(not completed), device=device)
    for dimension in range(mesh.ndim):
        dist.all_reduce(failures, dist.ReduceOp.MAX, group=mesh.get_group(dimension))
    return failures.item() == 0
