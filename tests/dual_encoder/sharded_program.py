"""One of two processes: dual encoders sharded by ``fully_shard``, what they gave as JSON.

Run by ``test_sharded.py`` as ``python sharded_program.py FOLDER RANK``.
"""

import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from selip_core.dual_encoder import DualEncoder
from selip_core.losses import SimilarityCLIPLoss, cached_contrastive_step
from selip_core.pretrained import STRICT, Kind, register_kind

PROCESSES, ROWS, STEPS = 2, 6, 4
WAYS = ("whole", "root", "encoders", "ddp", "encoders in ddp")


class Encoder(nn.Module):
    """A small encoder with tied weights, a buffer and a checkpointed layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.middle = nn.Linear(width, 4), nn.Linear(4, 4)
        self.again = nn.Linear(4, 4)
        self.again.weight = self.middle.weight
        self.register_buffer("offset", torch.ones(4))

    def forward(self, rows: Tensor) -> Tensor:
        return self.again(self.middle(self.first(rows)).tanh()) + self.offset


@dataclass(frozen=True)
class SavedEncoder:
    __pydantic_config__ = STRICT
    width: int


KIND = Kind(
    name="tests.small",
    module=Encoder,
    home="tests",
    task="feature-extraction",
    settings=SavedEncoder,
    describe=lambda encoder, folder: SavedEncoder(encoder.first.in_features),
    build=lambda saved, folder, where: Encoder(saved.width),
    facts=lambda encoder: {},
    sources=lambda encoder: [],
)


def made() -> tuple[DualEncoder, Tensor, Tensor]:
    torch.manual_seed(0)
    model = DualEncoder(Encoder(5), Encoder(7), maximum_logit_scale=15.0).double()
    images, texts = (torch.randn(ROWS, width, dtype=torch.float64) for width in (5, 7))
    return model, images, texts


def target() -> Tensor:
    table = torch.rand(ROWS, ROWS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return table + torch.eye(ROWS, dtype=torch.float64)


def spread(way: str, model: DualEncoder) -> nn.Module:
    """Spread a model over both processes; the scale may be left to each of them."""
    mesh = init_device_mesh("cpu", (PROCESSES,))
    if way == "ddp":
        return DistributedDataParallel(model)
    if way == "encoders in ddp":
        model.image_encoder = DistributedDataParallel(model.image_encoder)
        model.text_encoder = DistributedDataParallel(model.text_encoder)
        return model
    parts = {
        "whole": [model.image_encoder, model.text_encoder, model],
        "root": [model],
        "encoders": [model.image_encoder, model.text_encoder],
    }
    for part in parts[way]:
        fully_shard(part, mesh=mesh)
    return model


def whole(tensor: Tensor | None) -> list[float]:
    assert tensor is not None
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).flatten().tolist()


def train(model: nn.Module, plain: DualEncoder, batch: Any, loss: Any, chunks: int) -> Any:
    """Train a few steps; return losses, gradients of the scale, and the weights at the end."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses, gradients = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        if chunks > 1:
            value = cached_contrastive_step(model, batch, loss, -(-len(batch[0]) // chunks))
        else:
            value = loss(*model(*batch))
            value.backward()
        losses.append(value.item())
        gradients += whole(plain.log_logit_scale.grad)
        optimizer.step()
        plain.clamp_logit_scale_()
    weights = {
        name.replace("module.", ""): whole(value) for name, value in plain.named_parameters()
    }
    return {"losses": losses, "scale gradients": gradients, "weights": weights}


def trained(way: str, rank: int, chunks: int = 1) -> Any:
    plain, images, texts = made()
    model = spread(way, plain)
    rows = slice(0, 2) if rank == 0 else slice(2, ROWS)

    def loss(*outputs: Tensor) -> Tensor:
        loss_fn = SimilarityCLIPLoss(backend="chunked")
        return loss_fn(*outputs, target=target()[rows], group=dist.group.WORLD)

    return train(model, plain, (images[rows], texts[rows]), loss, chunks)


def flat(keep_parameters: bool, folder: Path, rank: int) -> dict[str, Any]:
    """Train with the older FSDP, whose parameters are out of memory between two steps."""
    plain, images, texts = made()
    cpu = torch.device("cpu")
    model = FullyShardedDataParallel(plain, use_orig_params=keep_parameters, device_id=cpu)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    rows = slice(0, 2) if rank == 0 else slice(2, ROWS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        outputs = model(images[rows], texts[rows])
        loss_fn = SimilarityCLIPLoss(backend="chunked")
        loss_fn(*outputs, target=target()[rows], group=dist.group.WORLD).backward()
        optimizer.step()
        with FullyShardedDataParallel.summon_full_params(model):
            plain.clamp_logit_scale_()
    errors = []
    if not keep_parameters:
        for use in (lambda: plain.logit_scale, plain.clamp_logit_scale_):
            try:
                use()
            except RuntimeError as error:
                errors.append(str(error))
    try:
        plain.save_pretrained(folder / "flat")
    except ValueError as error:
        errors.append(str(error))
    with FullyShardedDataParallel.summon_full_params(model):
        weights = {name: whole(value) for name, value in plain.named_parameters()}
        scale = plain.logit_scale.item()
    return {"weights": weights, "errors": errors, "scale": scale}


def saved(way: str, folder: Path, rank: int) -> dict[str, Any]:
    """Save a sharded model, train it on, load what was saved, and shard that."""
    model, images, texts = made()
    spread(way, model)
    model(images, texts).image_features.sum().backward()
    before = {name: whole(value) for name, value in model.named_parameters()}
    classes = [type(part).__name__ for part in model.modules()]
    model.save_pretrained(folder / way)
    assert classes == [type(part).__name__ for part in model.modules()]
    result: dict[str, Any] = {"scale": model.logit_scale.item(), "before": before}
    try:
        model.save_pretrained(folder / way)
    except OSError as error:
        result["second"] = f"{type(error).__name__}: {error}"
    model(images, texts).image_features.sum().backward()
    again = DualEncoder.from_pretrained(folder / way)
    result["again"] = {name: whole(value) for name, value in again.named_parameters()}
    result["tied"] = again.image_encoder.middle.weight is again.image_encoder.again.weight
    with torch.no_grad():
        expected = again.encode_image(images)
        spread("whole", again)
        register_fsdp_forward_method(again, "encode_image")
        result["features"] = torch.equal(again.encode_image(images), expected)
    return result


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    register_kind(KIND)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )
    results = {way: trained(way, rank) for way in WAYS}
    results |= {f"{way}, chunks": trained(way, rank, chunks=2) for way in WAYS}
    results |= {f"{way}, saved": saved(way, folder, rank) for way in ("whole", "root", "encoders")}
    results |= {f"flat, {keep}": flat(keep, folder, rank) for keep in (False, True)}
    (folder / f"rank{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
