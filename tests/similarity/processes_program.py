"""One of several processes: gathers positions, makes its share of the target and of the loss.

Run by ``test_processes.py`` as ``python processes_program.py FOLDER RANK WORLD``; writes JSON.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from selip_core.losses import SimilarityCLIPLoss
from selip_core.similarity import Similarity, load_similarity


def share(similarity: Similarity, case: dict[str, Any], rank: int, group: Any) -> dict[str, Any]:
    """Compute what this rank holds, or the error."""
    ids = case["ids"][rank]
    if rank in case["other_order"]:
        similarity = load_similarity(case["reversed"])
    try:
        columns = similarity.gather_positions(ids, group)
    except ValueError as error:
        return {"error": str(error)}
    target = similarity.batch(ids, columns, dtype=torch.float64)
    start = sum(map(len, case["ids"][:rank]))
    images, texts = (
        torch.tensor(case[name], dtype=torch.float64).reshape(-1, 3)[start : start + len(ids)]
        for name in ("images", "texts")
    )
    images.requires_grad_()
    loss = SimilarityCLIPLoss()(images, texts, torch.tensor(5.0), target=target, group=group)
    (gradient,) = torch.autograd.grad(loss, images)
    return {
        "columns": columns.tolist(),
        "alone": similarity.gather_positions(ids).tolist(),
        "target": target.dense().tolist(),
        "loss": loss.item(),
        "gradient": gradient.tolist(),
    }


def main(folder: Path, rank: int, world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    similarity = load_similarity(folder / "fitted")
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    shares = {name: share(similarity, case, rank, dist.group.WORLD) for name, case in cases.items()}
    (folder / f"rank{rank}.json").write_text(json.dumps(shares), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
