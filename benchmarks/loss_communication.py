"""What one step of the loss sends and computes on one rank, against open_clip's local loss.

Run: ``python benchmarks/loss_communication.py``. Processes talk by gloo on this machine; what is
counted are the collectives that each loss calls, with the bytes of their tensors, and the
operations of its matrix products. Bytes sent by a rank are those of ring algorithms, as nccl uses
them for large tensors: with W ranks an all-gather or reduce-scatter of a whole of B bytes sends
``(W - 1)/W B``, an all-reduce twice that.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils.flop_counter import FlopCounterMode

from results import write_result
from selip_core.losses import chunked, similarity_clip_loss
from selip_core.losses.backends import BACKENDS
from selip_core.losses.one_node import soft_cross_entropy

WORLDS = (2, 4)
ROWS, WIDTH = 64, 512
DTYPES = ("float32", "bfloat16")
# By the name of the collective: which argument is the whole tensor, and how often a ring sends it.
COLLECTIVES = {
    "all_gather": (0, 1),
    "all_gather_into_tensor": (0, 1),
    "all_gather_single": (0, 1),
    "reduce_scatter_tensor": (1, 1),
    "reduce_scatter_single": (1, 1),
    "all_reduce": (0, 2),
}


class GatherWithGradient(torch.autograd.Function):
    """An all-gather whose backward is a reduce-scatter, as ``gather_with_grad`` has it on nccl."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        """Return the features of all ranks."""
        ctx.shape = features.shape
        whole = features.new_empty(dist.get_world_size() * len(features), features.shape[1])
        dist.all_gather_into_tensor(whole, features.contiguous())
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return this rank's rows of the sum of gradients."""
        own = gradients[0].new_empty(ctx.shape)
        dist.reduce_scatter_tensor(own, gradients[0].contiguous())
        return own


def open_clip_local_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """``ClipLoss(local_loss=True, gather_with_grad=True)`` of open_clip, written out."""
    all_images, all_texts = (GatherWithGradient.apply(x) for x in (images, texts))  # type: ignore[no-untyped-call]
    own = torch.arange(len(images)) + dist.get_rank() * len(images)
    per_image, per_text = scale * images @ all_texts.T, scale * texts @ all_images.T
    return (cross_entropy(per_image, own) + cross_entropy(per_text, own)) / 2


def ours(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """The loss of this package over the same ranks."""
    return similarity_clip_loss(images, texts, scale, group=dist.group.WORLD)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "selip_core": ours,
    "open_clip, local_loss, gather_with_grad": open_clip_local_loss,
}


@contextmanager
def recorded(world: int) -> Iterator[list[dict[str, Any]]]:
    """Record the collectives called within."""
    calls: list[dict[str, Any]] = []
    originals = {name: getattr(dist, name) for name in COLLECTIVES if hasattr(dist, name)}

    def recording(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        position, times = COLLECTIVES[name]

        def call(*arguments: Any, **options: Any) -> Any:
            whole = arguments[position]
            parts = whole if isinstance(whole, list) else [whole]
            size = sum(part.nbytes for part in parts)
            sent = times * (world - 1) * size // world
            calls.append({"collective": name, "bytes": size, "bytes_sent": sent})
            return original(*arguments, **options)

        return call

    for name, original in originals.items():
        setattr(dist, name, recording(name, original))
    try:
        yield calls
    finally:
        for name, original in originals.items():
            setattr(dist, name, original)


def show_products() -> None:
    """Call the sweeps as they are: registered as operators they hide products from the counter."""
    plain = partial(soft_cross_entropy, sweeps=chunked)
    BACKENDS["chunked"] = replace(BACKENDS["chunked"], soft_cross_entropy=plain)


def addmm_in_place_operations(
    total: torch.Size, left: torch.Size, right: torch.Size, **options: Any
) -> int:
    """Return the operations of ``addmm_``; the counter knows ``addmm`` only."""
    return 2 * left[0] * left[1] * right[1]


def measure(name: str, dtype: torch.dtype, world: int) -> dict[str, Any]:
    """Return what a forward and a backward send and compute on this rank."""
    generator = torch.Generator().manual_seed(dist.get_rank())
    drawn = torch.randn(2, ROWS, WIDTH, generator=generator)
    images, texts = (x.to(dtype).requires_grad_() for x in normalize(drawn, dim=2))
    scale = torch.tensor(10.0, requires_grad=True)
    in_place = {torch.ops.aten.addmm_: addmm_in_place_operations}
    counting = FlopCounterMode(display=False, custom_mapping=in_place)
    with recorded(world) as calls, counting as counter:
        LOSSES[name](images, texts, scale).backward()  # type: ignore[no-untyped-call]
    operations = counter.get_total_flops()
    return {
        "collectives": calls,
        "bytes_sent": sum(call["bytes_sent"] for call in calls),
        "operations": operations,
        # A product of n x d with d x N counts 2 n N d operations.
        "products": operations / (2 * ROWS * world * ROWS * WIDTH),
    }


def run_rank(rank: int, world: int, folder: str) -> None:
    """Measure on one rank; the first writes."""
    torch.set_num_threads(1)
    show_products()
    store = (Path(folder) / f"store{world}").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    measured = {
        dtype: {name: measure(name, getattr(torch, dtype), world) for name in LOSSES}
        for dtype in DTYPES
    }
    if rank == 0:
        (Path(folder) / f"{world}.json").write_text(json.dumps(measured))
    dist.destroy_process_group()


def main() -> None:
    """Measure every world, print, write."""
    worlds = {}
    with tempfile.TemporaryDirectory() as folder:
        for world in WORLDS:
            processes.spawn(run_rank, (world, folder), world)  # type: ignore[attr-defined, no-untyped-call]
            worlds[str(world)] = json.loads((Path(folder) / f"{world}.json").read_text())
    for ranks, measured in worlds.items():
        for dtype, losses in measured.items():
            for name, found in losses.items():
                print(
                    f"{ranks} ranks, {dtype}, {name}: {found['bytes_sent']} bytes sent, "
                    f"{found['products']:.2f} products"
                )
    result = {"rows_per_rank": ROWS, "width": WIDTH, "worlds": worlds}
    print(write_result("loss_communication", result).name)


if __name__ == "__main__":
    main()
