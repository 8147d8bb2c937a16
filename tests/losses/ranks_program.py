"""One of several processes: computes its shares of a loss and writes them as JSON.

Run by ``test_ranks.py`` as ``python ranks_program.py FOLDER RANK``. All worlds are groups of the
same three processes, since starting them is what takes the time.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from selip_core.losses import SimilarityCLIPLoss


def share(case: dict[str, Any], rank: int, group: Any) -> dict[str, Any]:
    """Compute what this rank holds: the loss and its gradients, or the error."""
    start, stop = sum(case["sizes"][:rank]), sum(case["sizes"][: rank + 1])
    dtype = getattr(torch, case["dtype"])
    images, texts = (
        torch.tensor(case[name], dtype=dtype).reshape(-1, 5)[start:stop]
        for name in ("images", "texts")
    )
    leaves = [images, texts, torch.tensor(case["scale"], dtype=dtype)]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    target = case["target"]
    if target is not None:
        target = torch.tensor(target, dtype=dtype)[start:stop]
    loss_fn = SimilarityCLIPLoss(average=case["average"])
    try:
        loss = loss_fn(*leaves, target=target, group=group)
    except ValueError as error:
        return {"error": str(error)}
    gradients: list[Tensor] = list(torch.autograd.grad(loss, leaves))
    return {"loss": loss.item(), "gradients": [gradient.tolist() for gradient in gradients]}


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=3,
        timeout=timedelta(seconds=30),
    )
    groups = {size: dist.new_group(list(range(size))) for size in (1, 2, 3)}
    shares = {}
    for name, case in json.loads((folder / "cases.json").read_text()).items():
        if rank < len(case["sizes"]):
            shares[name] = share(case, rank, groups[len(case["sizes"])])
    (folder / f"rank{rank}.json").write_text(json.dumps(shares))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
