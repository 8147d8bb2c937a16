"""The loss beside what the machine can do: rates under a roofline, and shares of the time.

Run: ``python benchmarks/loss_roofline.py``, on a machine that does nothing else; on two cores it
takes about four minutes. On a GPU: ``python benchmarks/loss_roofline.py --device cuda``; the result
keeps what it has of the other device. ``--quick`` takes small sizes, to see that everything runs.

The roof is measured in the same run: the rate of a square product, and the bytes a second of an
addition of large vectors. Operations are those of matrix products, as torch counts them; bytes are
those that every operation reads and writes, each for itself, whatever caches hold. What Triton's
kernels compute and move no counter sees: it stands as a formula, and is marked.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch

from loss_communication import show_products
from loss_counting import counted, profiled
from loss_formulas import COMPILED, FORMULA, LINEAR, WIDTH, Loss, batch, losses, step
from loss_gpu import OPERATIONS_PER_PAIR_AND_COLUMN, compared, seconds_of
from loss_targets import of_reports, reports
from results import RESULTS, write_result
from selip_core.losses import similarity_clip_loss
from selip_core.similarity import SyntaxSimilarity
from similarity_fit import THREADS

ROWS = {"cpu": (1024, 4096, 8192), "cuda": (4096, 32_768)}
QUICK_ROWS = (256, 1024)
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}
# Side of the product, values of the vectors.
ROOF = {"cpu": (4096, 2**25), "cuda": (8192, 2**28)}
QUICK_ROOF = (512, 2**20)
REPEATS = {"cpu": 3, "cuda": 20}
DISTINCT = 0.15  # findings a report, so that U stays below N/5


def measure(device: str, quick: bool) -> dict[str, Any]:
    """Return the roof, a point for each loss and size, and the profiles at the largest size."""
    sizes = QUICK_ROWS if quick else ROWS[device]
    compared_losses = losses() if device == "cpu" else compared(device, DTYPES[device])
    # The counters see nothing of what one operation or a compiled function does inside.
    for name in (LINEAR, COMPILED):
        compared_losses.pop(name, None)
    points = [
        point(name, loss, rows, device) for rows in sizes for name, loss in compared_losses.items()
    ]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "quick": quick,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "dtype": str(DTYPES[device]).removeprefix("torch."),
        **roof(device, quick),
        "points": points,
        "profiles": profiles(device, compared_losses, sizes[-1]),
    }


def roof(device: str, quick: bool) -> dict[str, float]:
    """Return the operations a second of a product, and the bytes a second of an addition."""
    side, values = QUICK_ROOF if quick else ROOF[device]
    left, right = (torch.randn(side, side, device=device).to(DTYPES[device]) for _ in range(2))
    first, second, total = (torch.ones(values, device=device) for _ in range(3))
    product = seconds_of(partial(torch.mm, left, right), device, REPEATS[device])
    addition = seconds_of(partial(torch.add, first, second, out=total), device, REPEATS[device])
    found = {
        "operations_per_second": 2 * side**3 / product,
        "bytes_per_second": 3 * total.nbytes / addition,
    }
    print(found)
    return found


def point(name: str, loss: Loss, rows: int, device: str) -> dict[str, Any]:
    """Return seconds, operations and bytes of one step."""
    leaves = batch(rows, dtype=DTYPES[device], device=device)
    call = partial(step, loss, leaves)
    by_formula = name == "triton"
    row = {
        "loss": name,
        "rows": rows,
        "seconds": seconds_of(call, device, REPEATS[device]),
        **(of_triton(rows, leaves[0].itemsize) if by_formula else counted(call)),
        "by_formula": by_formula,
    }
    print(row)
    return row


def of_triton(rows: int, itemsize: int) -> dict[str, int]:
    """Return four products; a panel of gradients written once and read twice is what must move."""
    return {
        "operations": OPERATIONS_PER_PAIR_AND_COLUMN * rows**2 * WIDTH,
        "bytes": 3 * rows**2 * itemsize,
    }


def profiles(device: str, found: dict[str, Loss], rows: int) -> list[dict[str, Any]]:
    """Return shares of the time by kind of operation: of our loss, with a target too, of others."""
    ours = "triton" if "triton" in found else "chunked"
    similarity = of_reports(SyntaxSimilarity.paper(), reports(rows, int(DISTINCT * rows)))()
    soft: Loss = partial(similarity_clip_loss, target=similarity.to(device), backend=ours)
    chosen = {ours: found[ours], f"{ours}, factored target": soft, FORMULA: found[FORMULA]}
    if "dense" in found:
        chosen["dense"] = found["dense"]
    rows_of = []
    for name, loss in chosen.items():
        call: Callable[[], Any] = partial(
            step, loss, batch(rows, dtype=DTYPES[device], device=device)
        )
        call()
        rows_of.append({"loss": name, "rows": rows, "shares": profiled(call, device)})
        print(rows_of[-1])
    return rows_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", choices=ROWS, default="cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing to be quoted")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    show_products()
    path = RESULTS / "loss_roofline.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["devices"] if path.exists() else {}
    devices = {**kept, chosen.device: measure(chosen.device, chosen.quick)}
    print(write_result("loss_roofline", {"width": WIDTH, "devices": devices}).name)


if __name__ == "__main__":
    main()
