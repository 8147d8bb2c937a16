"""Time and memory of the loss, forward and backward, beside open_clip's, as ratios within one run.

Run: ``python benchmarks/loss.py``, on a machine that does nothing else; on two cores it takes about
ten minutes. Parts can be measured one by one (``--only step``); the result keeps what it has of
the others. ``--quick`` takes small sizes, to see that everything runs. Parts:

- ``scaling``: seconds of a step of every loss, measured in turn, and what a step adds to the
  largest memory of a process of its own, by rows, columns and type;
- ``targets``: what a target adds to the step of plain CLIP, by its kind;
- ``step``: the share of the loss in a whole training step;
- ``gpu``: shares of a product's rate, open_clip's loss under autocast, Inf-CL, other sizes and
  types, targets, a million pairs. It needs a CUDA device; without one the result says that it was
  not run. On such a machine ``--only gpu`` measures this part alone.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from loss_formulas import FORMULA, SCALE, WIDTH
from loss_gpu import measure_gpu
from loss_scaling import measure_scaling
from loss_step import measure_steps
from loss_targets import measure_targets
from results import RESULTS, write_result
from similarity_fit import THREADS

PARTS: dict[str, Callable[[bool], Any]] = {
    "scaling": measure_scaling,
    "targets": measure_targets,
    "step": measure_steps,
    "gpu": measure_gpu,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing to be quoted")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    path = RESULTS / "loss.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.exists() else {}
    parts = {name: kept[name] for name in PARTS if name in kept}
    for name in chosen.only:
        today = datetime.now(UTC).date().isoformat()
        measured = {"date": today, "quick": chosen.quick, "threads": THREADS}
        parts[name] = {**measured, "result": PARTS[name](chosen.quick)}
        setting = {"width": WIDTH, "logit_scale": SCALE, "threads": THREADS, "formula": FORMULA}
        print(write_result("loss", {**setting, "parts": parts}).name)


if __name__ == "__main__":
    main()
