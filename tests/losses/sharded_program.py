"""One of two processes: the gradients of a model sharded by FSDP, written as JSON.

Run by ``test_sharded.py`` as ``python sharded_program.py FOLDER RANK``.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from selip_core.losses import bidirectional_logsumexp, similarity_clip_loss

PROCESSES, ROWS = 2, 6


class Towers(nn.Module):
    """Two linear towers, the first of which is computed again for its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(5, 4), nn.Linear(7, 4)
        self.log_scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image_features = checkpoint(self.image, images, use_reentrant=False)
        features = normalize(image_features, dim=1), normalize(self.text(texts), dim=1)
        return (*features, self.log_scale.exp())


def made() -> tuple[Towers, Tensor, Tensor]:
    torch.manual_seed(0)
    return Towers(), torch.randn(ROWS, 5), torch.randn(ROWS, 7)


def loss_of(kind: str, outputs: tuple[Tensor, ...], rows: slice, group: object) -> Tensor:
    """The loss over all processes, or the primitive in each of its own."""
    if kind == "loss":
        target = torch.eye(ROWS)[rows] + 0.1
        return similarity_clip_loss(*outputs, target=target, group=group, backend="chunked")
    by_row, by_column = bidirectional_logsumexp(*outputs, backend="chunked")
    return by_row.mean() - by_column.mean() / 2


def sharded(kind: str, rank: int, low: bool) -> dict[str, list[float]]:
    model, images, texts = made()
    mesh = init_device_mesh("cpu", (PROCESSES,))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if low else None)
    for part in (model.image, model.text, model):
        fully_shard(part, mesh=mesh, mp_policy=policy)
    rows = slice(0, 2) if rank == 0 else slice(2, ROWS)
    loss_of(kind, model(images[rows], texts[rows]), rows, dist.group.WORLD).backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        assert isinstance(parameter.grad, DTensor)
        gradients[name] = parameter.grad.full_tensor().flatten().tolist()
    return gradients


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )
    results = {
        f"{kind}, {'bfloat16' if low else 'float32'}": sharded(kind, rank, low)
        for kind in ("loss", "primitive")
        for low in (False, True)
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
