"""Image encoders: volumes a second, memory, what our wrapper costs, what channels-last gives.

Run: ``python benchmarks/encoders.py``, on a machine that does nothing else; on two cores it takes
at most 25 minutes. Parts can be measured one by one (``--only overhead``); the result keeps what it
has of the others. ``--quick`` takes few encoders and small volumes, to see that everything runs.
Parts:

- ``throughput``: a step, forward and backward, of every registered encoder at three sizes, each in
  a process of its own, with the most memory that it held; what costs too much is skipped, with the
  reason;
- ``overhead``: a step of our encoder over one of the same network pooled by plain torch;
- ``layout``: a step with weights and volumes in channels-last over one in the plain layout;
- ``gpu``: the same steps as ``throughput`` in bfloat16, plain, channels-last, and compiled. It
  needs a CUDA device; without one the result says that it was not run.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from encoders_ratio import measure_layout, measure_overhead
from encoders_throughput import measure_gpu, measure_throughput
from results import RESULTS, write_result
from similarity_fit import THREADS

PARTS: dict[str, Callable[[bool], Any]] = {
    "throughput": measure_throughput,
    "overhead": measure_overhead,
    "layout": measure_layout,
    "gpu": measure_gpu,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small volumes; nothing to be quoted")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    path = RESULTS / "encoders.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.exists() else {}
    parts = {name: kept[name] for name in PARTS if name in kept}
    for name in chosen.only:
        today = datetime.now(UTC).date().isoformat()
        measured = {"date": today, "quick": chosen.quick, "threads": THREADS}
        parts[name] = {**measured, "result": PARTS[name](chosen.quick)}
        print(write_result("encoders", {"threads": THREADS, "parts": parts}).name)


if __name__ == "__main__":
    main()
