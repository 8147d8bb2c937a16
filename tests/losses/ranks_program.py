"""One of several processes: computes its shares of a loss and writes them as JSON.

Run by ``test_ranks.py`` as ``python ranks_program.py FOLDER RANK``. All worlds are groups of the
same four processes, since starting them is what takes the time. Last, one of them dies.
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from selip_core.losses import SimilarityCLIPLoss
from selip_core.similarity.operators import Dense, LowRank

PROCESSES = 4
TIMEOUT_SECONDS = 5
SETTINGS_ON_ONE_RANK: dict[str, dict[str, Any]] = {
    "average": {"average": False},
    "label_smoothing": {"label_smoothing": 0.1},
    "align_weight": {"align_weight": 0.5},
    "similarity_weight": {"similarity_weight": 0.5},
}
FROZEN_ON_ONE_RANK = {"frozen": [1], "frozen scale": [2]}


def rows_of(case: dict[str, Any], rank: int) -> slice:
    return slice(sum(case["sizes"][:rank]), sum(case["sizes"][: rank + 1]))


def tensor(values: Any, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def own_input(case: dict[str, Any], rank: int) -> tuple[list[Tensor], dict[str, Any]]:
    """Return this rank's features and scale, and the options of its call."""
    own, dtype = rows_of(case, rank), getattr(torch, case["dtype"])
    images, texts = (tensor(case[name], dtype).reshape(-1, 5)[own] for name in ("images", "texts"))
    options: dict[str, Any] = {}
    if case["target"] is not None:
        options["target"] = tensor(case["target"], dtype).reshape(-1, sum(case["sizes"]))[own]
    if case["factor"] is not None:
        factor = tensor(case["factor"], dtype)
        options["target"] = LowRank(factor[own], factor)
    if case["mask"] is not None and rank not in case["ranks_without_mask"]:
        options["mask"] = tensor(case["mask"], torch.bool)[own]
    return [images, texts, tensor(case["scale"], dtype)], options


class WithoutTiles:
    """A target that cannot be read in tiles."""

    def __init__(self, table: Tensor) -> None:
        self.table = Dense(table)

    def __getattr__(self, name: str) -> Any:
        if name == "tile":
            raise AttributeError(name)
        return getattr(self.table, name)

    def to(self, device: torch.device, dtype: torch.dtype) -> "WithoutTiles":
        return self


def spoil(spoiled: str, leaves: list[Tensor], options: dict[str, Any]) -> None:
    """Make this rank's input wrong in one way."""
    if spoiled == "rows":
        leaves[1] = leaves[1][1:]
    elif spoiled == "nan":
        leaves[0] = leaves[0] * torch.nan
    elif spoiled == "target rows":
        options["target"] = options["target"][1:]
    elif spoiled == "target columns":
        options["target"] = options["target"][:, 1:]
    elif spoiled == "negative":
        options["target"] = -options["target"]
    elif spoiled == "no tiles":
        options["target"] = WithoutTiles(options["target"])
    elif spoiled == "type":
        leaves[:2] = [leaf.double() for leaf in leaves[:2]]
    elif spoiled == "width":
        leaves[:2] = [leaf[:, 1:] for leaf in leaves[:2]]
    elif spoiled in ("scale", "rounded scale"):
        leaves[2] = leaves[2] * (1 + (1e-2 if spoiled == "scale" else 2e-7))
    elif spoiled == "scale without a number":
        leaves[2] = leaves[2] * torch.nan
    elif spoiled == "no bias":
        del options["logit_bias"]
    elif spoiled == "bias":
        options["logit_bias"] = options["logit_bias"] - 1e-3
    elif spoiled == "no target":
        del options["target"]


def share(case: dict[str, Any], rank: int, group: Any) -> dict[str, Any]:
    """Compute what this rank holds: the loss and its gradients, or the error."""
    leaves, options = own_input(case, rank)
    options["return_stats"] = case["statistics"]
    if options["return_stats"]:
        options["logit_bias"] = torch.tensor(-2.0, requires_grad=True)
    frozen, settings = case["frozen"], case["settings"]
    if rank == case.get("spoiled_rank"):
        spoil(case["spoiled"], leaves, options)
        frozen = FROZEN_ON_ONE_RANK.get(case["spoiled"], frozen)
        settings = settings | SETTINGS_ON_ONE_RANK.get(case["spoiled"], {})
        options["return_stats"] &= case["spoiled"] != "no statistics"
    leaves = [
        leaf.detach().requires_grad_(index not in frozen) for index, leaf in enumerate(leaves)
    ]
    loss_fn = SimilarityCLIPLoss(**settings)
    try:
        result = loss_fn(*leaves, group=group, **options)
    except ValueError as error:
        return {"error": str(error)}
    loss = result.loss if case["statistics"] else result
    gradients = torch.autograd.grad(loss, [leaf for leaf in leaves if leaf.requires_grad])
    done = {"loss": loss.item(), "gradients": [gradient.tolist() for gradient in gradients]}
    if case["statistics"]:
        numbers = result.statistics.as_dict()
        done["statistics"] = {name: value.item() for name, value in numbers.items()}
    return done


class Towers(nn.Module):
    """Two linear encoders and a scale, alike wherever they are made."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = (nn.Linear(5, 4, dtype=dtype) for _ in range(2))
        self.log_scale = nn.Parameter(torch.tensor(1.5, dtype=dtype))
        self.bias = nn.Parameter(torch.tensor(-1.0, dtype=dtype))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, ...]:
        features = normalize(self.image(images), dim=1), normalize(self.text(texts), dim=1)
        return (*features, self.log_scale.exp(), self.bias)


def trained(case: dict[str, Any], rank: int, group: Any) -> dict[str, Any]:
    """Compute the gradients of a model within DistributedDataParallel."""
    (images, texts, scale), options = own_input(case, rank)
    model = DistributedDataParallel(Towers(scale.dtype), process_group=group)
    loss = SimilarityCLIPLoss(**case["settings"])(*model(images, texts), group=group, **options)
    loss.backward()
    return {"gradients": {name: p.grad.tolist() for name, p in model.named_parameters()}}


def after_a_death(rank: int, group: Any) -> dict[str, Any]:
    """Call the loss while the last rank is gone; how long until the others know?"""
    if rank == PROCESSES - 1:
        os._exit(0)
    features = torch.eye(3, 5, requires_grad=True)
    start = time.monotonic()
    try:
        SimilarityCLIPLoss()(features, features, 2.0, group=group)
    except RuntimeError as error:
        return {"error": type(error).__name__, "seconds": time.monotonic() - start}
    return {"error": None}


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=30),
    )
    groups = {size: dist.new_group(list(range(size))) for size in range(1, PROCESSES + 1)}
    doomed = dist.new_group(timeout=timedelta(seconds=TIMEOUT_SECONDS))
    done = {}
    for name, case in json.loads((folder / "cases.json").read_text()).items():
        if rank < len(case["sizes"]):
            compute = trained if case["model"] else share
            done[name] = compute(case, rank, groups[len(case["sizes"])])
    written = folder / f"rank{rank}.json"
    written.write_text(json.dumps(done))
    done["death"] = after_a_death(rank, doomed)
    written.write_text(json.dumps(done))
    # Without farewell: one of the group is gone.
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
