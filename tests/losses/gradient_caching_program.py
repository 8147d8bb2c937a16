"""One of two processes: steps with cached gradients inside wrappers, written as JSON.

Run by ``test_gradient_caching.py`` as ``python gradient_caching_program.py FOLDER RANK``.
"""

import json
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from selip_core.losses import SimilarityCLIPLoss, cached_contrastive_step

PROCESSES, ROWS, CHUNK_SIZE = 2, 7, 2
# With DDP the ranks have one chunk and three, or none and four; sharded, two each.
FIRST_ROWS = {
    "ddp": 2,
    "ddp, empty rank": 0,
    "ddp within a module": 2,
    "ddp, unused parameters": 2,
    "fully_shard": 3,
}
SHARDED = ("an encoder within a module", "FullyShardedDataParallel")
REFUSED = ("static_graph", "delay_all_reduce_named_params")


class Towers(nn.Module):
    """Two towers and a scale; the buffer is what DDP sends before a forward.

    A layer is used by chunks with a large first value only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sometimes = nn.Linear(5, 5)
        self.always = True
        self.image = nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 4))
        self.text = nn.Linear(7, 4)
        self.log_scale = nn.Parameter(torch.ones(1))
        self.register_buffer("offset", torch.zeros(1))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        large = images[:, :1] > 0
        if self.always or large.any():
            images = images + torch.where(large, self.sometimes(images), 0)
        features = normalize(self.image(images), dim=1), normalize(self.text(texts), dim=1)
        return (*features, self.log_scale.exp() + self.offset)


def made() -> tuple[Towers, Tensor, Tensor]:
    torch.manual_seed(0)
    images, texts = (torch.randn(ROWS, width, dtype=torch.float64) for width in (5, 7))
    # In the first chunk of the second rank, and in no other.
    images[:, 0] = -1
    images[2, 0] = 1
    return Towers().double(), images, texts


class Within(nn.Module):
    """A module around another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor, texts: Tensor) -> Any:
        return self.inner(images, texts)


def target() -> Tensor:
    return torch.eye(ROWS) + torch.rand(ROWS, ROWS, generator=torch.Generator().manual_seed(1))


def wrapped(kind: str, model: Towers) -> tuple[nn.Module, list[int]]:
    """Return the model for several processes, and a list that grows with what is synchronised."""
    sizes: list[int] = []
    if kind == "fully_shard":
        for part in (model.image, model.text, model):
            fully_shard(part, mesh=init_device_mesh("cpu", (PROCESSES,)))
        return model, sizes
    unused = kind == "ddp, unused parameters"
    model.always = not unused
    parallel = DistributedDataParallel(model, find_unused_parameters=unused)

    def average(state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        sizes.append(bucket.buffer().numel())
        dist.all_reduce(bucket.buffer())
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer() / PROCESSES)
        return future

    parallel.register_comm_hook(None, average)
    return Within(parallel) if kind == "ddp within a module" else parallel, sizes


def refused(setting: str, rank: int) -> dict[str, Any]:
    """Take a step with a setting that torch cannot do, where the first rank has one chunk."""
    plain, images, texts = made()
    calls: list[object] = []
    plain.register_forward_hook(lambda *call: calls.append(call))
    options: dict[str, Any] = {"static_graph": True}
    if setting != "static_graph":
        first, second, *_ = plain.named_parameters()
        options = {setting: [first], "param_to_hook_all_reduce": second[1]}
    model = Within(DistributedDataParallel(plain, **options))
    rows = slice(0, 2) if rank == 0 else slice(2, ROWS)
    loss = partial(SimilarityCLIPLoss(), group=dist.group.WORLD)
    try:
        cached_contrastive_step(model, (images[rows], texts[rows]), loss, CHUNK_SIZE)
    except ValueError as error:
        return {"error": str(error), "calls": len(calls)}
    return {"error": "none", "calls": len(calls)}


def unequal_chunks(kind: str, rank: int) -> dict[str, Any]:
    """Take a step of a sharded model, where the first rank has one chunk and the second three."""
    plain, images, texts = made()
    calls: list[object] = []
    plain.register_forward_hook(lambda *call: calls.append(call))
    mesh = init_device_mesh("cpu", (1, PROCESSES), mesh_dim_names=("copies", "shards"))
    model: nn.Module = plain
    if kind == "FullyShardedDataParallel":
        model = FullyShardedDataParallel(plain, device_id=torch.device("cpu"))
    else:
        fully_shard(plain.image, mesh=mesh)
        model = Within(plain)
    rows = slice(0, 2) if rank == 0 else slice(2, ROWS)
    loss = partial(SimilarityCLIPLoss(), group=dist.group.WORLD)
    try:
        cached_contrastive_step(model, (images[rows], texts[rows]), loss, CHUNK_SIZE)
    except ValueError as error:
        return {"error": str(error), "calls": len(calls)}
    return {"error": "none", "calls": len(calls)}


def not_synchronised() -> str:
    """Take a step in which the last chunk of both ranks does not use all parameters."""
    plain, images, texts = made()
    plain.always = False
    loss = partial(SimilarityCLIPLoss(), group=dist.group.WORLD)
    try:
        cached_contrastive_step(DistributedDataParallel(plain), (images, texts), loss, CHUNK_SIZE)
    except RuntimeError as error:
        return str(error)
    return "none"


def step_twice(kind: str, rank: int) -> dict[str, Any]:
    """Two steps whose gradients add up: in the second DDP has arranged its buckets anew."""
    plain, images, texts = made()
    model, sizes = wrapped(kind, plain)
    rows = slice(0, FIRST_ROWS[kind]) if rank == 0 else slice(FIRST_ROWS[kind], ROWS)
    loss = partial(SimilarityCLIPLoss(), target=target()[rows], group=dist.group.WORLD)
    for _ in range(2):
        value = cached_contrastive_step(model, (images[rows], texts[rows]), loss, CHUNK_SIZE)
    result: dict[str, Any] = {"loss": value.item(), "synchronised": sum(sizes)}
    for name, parameter in plain.named_parameters():
        gradient = parameter.grad
        assert gradient is not None
        whole = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
        result[name] = whole.flatten().tolist()
    return result


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )
    results: dict[str, Any] = {kind: step_twice(kind, rank) for kind in FIRST_ROWS}
    results |= {setting: refused(setting, rank) for setting in REFUSED}
    results |= {kind: unequal_chunks(kind, rank) for kind in SHARDED}
    results["not synchronised"] = not_synchronised()
    (folder / f"rank{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
