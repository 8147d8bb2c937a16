"""Weights on disk and back to the same bits: values, types, ties and layouts in memory."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selip_core.tensor_files import save_tensors

_LAYOUTS: dict[int, torch.memory_format] = {
    4: torch.channels_last,
    5: torch.channels_last_3d,
}
GRID = "grid"
"""Where a header tells, as JSON, the patches along each axis that positions were learned for."""

_CHANNELS_LAST = "channels_last"
_BUFFER_TYPES = "buffer_types"


def write_tensors(module: nn.Module, path: Path) -> None:
    """Write a module's parameters and buffers as safetensors; tied ones once.

    Raises:
        ValueError: If its state holds anything but tensors.
        WriteError: If the file cannot be written.
    """
    tensors = {name: value.detach() for name, value in _distinct(_state(module)).items()}
    facts = {
        _CHANNELS_LAST: json.dumps([name for name in tensors if _is_channels_last(tensors[name])]),
        _BUFFER_TYPES: json.dumps(_types_of_unsaved_buffers(module)),
    }
    grids = [each.native_grid for each in module.modules() if hasattr(each, "native_grid")]
    if grids:
        facts[GRID] = json.dumps(grids[0])
    copies = {name: _copy(tensor) for name, tensor in tensors.items()}
    save_tensors(copies, path, {"format": "pt", **facts})


def read_tensors(module: nn.Module, path: Path, prefix: str = "") -> None:
    """Give a module the tensors of a file, with their types and layouts.

    Args:
        module: As it was when it was written, but for the values.
        path: The file.
        prefix: What the names of the module's tensors begin with in the file; others are not read.

    Raises:
        ValueError: If the file is damaged, or its tensors are not those of this module.
        OSError: If it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            tensors = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); copy the model's folder again") from error
    tensors = _in_one_dimension(tensors, _state(module))
    _require_same_names(module, tensors, path)
    channels_last, types = _facts(facts, path)
    for name, value in _state(module).items():
        if name in tensors:
            own = _LAYOUTS.get(value.ndim) if f"{prefix}{name}" in channels_last else None
            value.data = _copy(tensors[name], own or torch.contiguous_format)
    for name, buffer in module.named_buffers():
        if f"{prefix}{name}" in types:
            buffer.data = buffer.to(types[f"{prefix}{name}"])


def _facts(header: Mapping[str, str], path: Path) -> tuple[set[str], dict[str, torch.dtype]]:
    """Names of tensors that were channels-last, and types of buffers by name."""
    try:
        channels_last = set(json.loads(header.get(_CHANNELS_LAST, "[]")))
        names = json.loads(header.get(_BUFFER_TYPES, "{}"))
        types = {key: getattr(torch, name) for key, name in names.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: its header cannot be read ({error})") from error
    if not all(isinstance(each, torch.dtype) for each in types.values()):
        raise ValueError(f"{path} is damaged: {_BUFFER_TYPES!r} in its header must be of types")
    return channels_last, types


def _state(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers themselves, not copies of them."""
    state: dict[str, Any] = module.state_dict(keep_vars=True)
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{name} is no tensor but {type(value).__name__}, which safetensors cannot hold"
            )
    return state


def _distinct(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor once, by the first of its names."""
    first: dict[int, str] = {}
    for name, value in state.items():
        first.setdefault(id(value), name)
    return {name: state[name] for name in first.values()}


def _types_of_unsaved_buffers(module: nn.Module) -> dict[str, str]:
    # They are made by the constructor, in float32; those of a module cast to bfloat16 are not.
    saved = module.state_dict(keep_vars=True).keys()
    return {
        name: str(buffer.dtype).removeprefix("torch.")
        for name, buffer in module.named_buffers()
        if name not in saved and buffer.is_floating_point() and buffer.dtype != torch.float32
    }


def _is_channels_last(tensor: Tensor) -> bool:
    # By strides: of one channel or one voxel both layouts hold, and convolutions ask for strides.
    if tensor.ndim not in _LAYOUTS or tensor.stride() == _strides(tensor, torch.contiguous_format):
        return False
    return tensor.stride() == _strides(tensor, _LAYOUTS[tensor.ndim])


def _strides(tensor: Tensor, layout: torch.memory_format) -> tuple[int, ...]:
    return torch.empty(tensor.shape, device="meta", memory_format=layout).stride()


def _copy(tensor: Tensor, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    # Memory of its own, since sums may depend on where a tensor begins in it, and a file gives it
    # any place. Not .to(memory_format=...), which leaves alone what has one channel.
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", memory_format=layout)
    return empty.copy_(tensor)


def _in_one_dimension(
    tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Give single numbers the dimension that the module's have.

    Earlier versions wrote the scale of a dual encoder without dimensions.
    """
    one = (1,)
    return {
        name: tensor.reshape(one)
        if tensor.ndim == 0 and name in state and state[name].shape == one
        else tensor
        for name, tensor in tensors.items()
    }


def _require_same_names(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    state = _state(module)
    problems = [*_missing(state, tensors), *_foreign(state, tensors)]
    if problems:
        shown = "; ".join(problems[:5]) + ("; ..." if len(problems) > 5 else "")
        raise ValueError(
            f"{path} holds the weights of another model: {shown}. Was config.json changed, or the "
            "encoder it names?"
        )


def _missing(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Iterator[str]:
    there = {id(value) for name, value in state.items() if name in tensors}
    yield from (f"{name} is missing" for name, value in state.items() if id(value) not in there)


def _foreign(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in tensors.items():
        if name not in state:
            yield f"{name} has no place in it"
        elif state[name].shape != tensor.shape:
            want, have = tuple(state[name].shape), tuple(tensor.shape)
            yield f"{name} must have shape {want}, got {have}"
