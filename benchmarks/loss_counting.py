"""What one step of a loss computes and moves, counted, and where its time goes, profiled."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from loss_communication import addmm_in_place_operations
from selip_core.losses.target import TwoWayTarget

TARGET = "target"
KINDS = {
    "matrix products": ("mm", "addmm", "addmm_", "bmm", "baddbmm", "matmul"),
    "exponentials, logarithms": (
        *("exp", "exp_", "log", "log_", "logaddexp", "_log_softmax"),
        "_log_softmax_backward_data",
    ),
    "sums, maxima": ("sum", "amax", "max", "mean", "logsumexp", "nll_loss_forward"),
    "copies": (
        *("copy_", "cat", "clone", "zero_", "fill_", "zeros", "zeros_like", "full", "full_like"),
        *("ones", "ones_like", "index_select", "to", "_to_copy", "contiguous"),
    ),
}
KIND_OF = {f"aten::{name}": kind for kind, names in KINDS.items() for name in names}
ARITHMETIC, TRITON, REST = "other arithmetic", "kernels of Triton", "Python and the rest"
# What writes its first argument and does not read it.
OVERWRITING = {torch.ops.aten.copy_, torch.ops.aten.fill_, torch.ops.aten.zero_}
ALLOCATING = {torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.new_empty}


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes that operations read and write, each for itself, whatever caches hold."""

    bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and count."""
        result = function(*args, **(kwargs or {}))
        packet = function.overloadpacket
        if not function.is_view and packet not in ALLOCATING:
            read = args[1:] if packet in OVERWRITING else args
            self.bytes += sum(map(size_of, tree_leaves((read, kwargs, result))))
        return result


def size_of(leaf: Any) -> int:
    """Return the bytes of a tensor, once where it repeats them; 0 for all else."""
    if not isinstance(leaf, Tensor):
        return 0
    return min(leaf.numel() * leaf.itemsize, leaf.untyped_storage().nbytes())


def counted(call: Callable[[], Any]) -> dict[str, int]:
    """Return the operations of matrix products, and the bytes, of one call."""
    in_place = {torch.ops.aten.addmm_: addmm_in_place_operations}
    counting = FlopCounterMode(display=False, custom_mapping=in_place)
    with Traffic() as traffic, counting as counter:  # type: ignore[no-untyped-call]
        call()
    return {"operations": counter.get_total_flops(), "bytes": traffic.bytes}


def profiled(call: Callable[[], Any], device: str) -> dict[str, float]:
    """Return the share of the time by kind of operation; on a GPU that of its kernels."""
    on_gpu = device == "cuda"
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]
    with marked_target(), profile(activities=activities) as profiler:
        call()
        if on_gpu:
            torch.cuda.synchronize()
    seconds: dict[str, float] = defaultdict(float)
    for event in profiler.events():
        time = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if event.device_type == DeviceType.CPU:
            seconds[kind_of(event)] += time
    return {kind: time / sum(seconds.values()) for kind, time in seconds.items() if time}


def kind_of(event: FunctionEvent) -> str:
    """Return the kind of an operation; everything within the target's products is the target's."""
    above: FunctionEvent | None = event
    while above is not None:
        if above.name == TARGET:
            return TARGET
        above = above.cpu_parent
    if event.name.startswith("selip_core::triton"):
        return TRITON
    if event.name.startswith("aten::"):
        return KIND_OF.get(event.name, ARITHMETIC)
    return REST


@contextmanager
def marked_target() -> Iterator[None]:
    """Let the profiler see which products are those of the target."""
    originals = {name: getattr(TwoWayTarget, name) for name in ("add_matmul", "add_rmatmul")}

    def marking(original: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            with record_function(TARGET):
                original(*arguments)

        return call

    for name, original in originals.items():
        setattr(TwoWayTarget, name, marking(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(TwoWayTarget, name, original)
