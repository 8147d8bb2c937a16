"""How long the demonstration takes, phase by phase, and how much memory its largest process holds.

Run: ``python benchmarks/demo.py --out DIR``, on a machine that does nothing else.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from results import write_result

KIB = 1024


def main() -> None:
    """Run it once in a new folder, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    out = parser.parse_args().out
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "selip_core", "demo", "--out", str(out)], check=True)
    seconds = time.perf_counter() - start
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * KIB
    phases = json.loads((out / "results.json").read_text(encoding="utf-8"))["seconds"]
    print(f"{seconds / 60:.1f} minutes, largest process {largest / 2**30:.2f} GiB")
    result = {"seconds": seconds, "largest_process_bytes": largest, "phase_seconds": phases}
    print(write_result("demo", result).name)


if __name__ == "__main__":
    main()
