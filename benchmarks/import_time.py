"""What ``import selip_core`` costs on top of ``import torch``, in fresh interpreters.

Run: ``python benchmarks/import_time.py``. Statements are measured in turn, so that a busy machine
slows all of them alike.
"""

import statistics
import subprocess
import sys

from results import write_result

REPEATS = 15
STATEMENTS = {
    "torch": "import torch",
    "selip_core": "import torch, selip_core",
    "SimilarityCLIPLoss": "import torch; from selip_core import SimilarityCLIPLoss",
    "SyntaxSimilarity": "import torch; from selip_core import SyntaxSimilarity",
    "create_image_encoder": "import torch; from selip_core import create_image_encoder",
    "Report": "import torch; from selip_core import Report",
}


def import_seconds(statement: str) -> float:
    """Return the seconds that a statement takes in a new interpreter, without starting it."""
    code = (
        f"import time; start = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return float(finished.stdout)


def main() -> None:
    """Measure, print, write."""
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(REPEATS):
        for name, statement in STATEMENTS.items():
            seconds[name].append(import_seconds(statement))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    over_torch = {name: median - medians["torch"] for name, median in medians.items()}
    for name, extra in over_torch.items():
        print(f"{name:22s} {medians[name]:6.3f} s, {extra:+.3f} s over torch")
    result = {"repeats": REPEATS, "median_seconds": medians, "seconds_over_torch": over_torch}
    print(write_result("import_time", result).name)


if __name__ == "__main__":
    main()
