"""One fit of one similarity in this process, as one line of JSON; ``similarity.py`` starts it.

Run: ``python benchmarks/similarity_fit.py paper 100000``.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from selip_core.similarity import SyntaxSimilarity
from similarity_corpora import long_tail, vocabulary

T = TypeVar("T")

KIB = 1024
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
BATCH = 4096
WIDTH = 512
REPEATS = 5
SIMILARITIES: dict[str, Callable[[], SyntaxSimilarity]] = {
    "paper": SyntaxSimilarity.paper,
    "default": SyntaxSimilarity,
}


def main() -> None:
    """Fit streamed reports, then take a batch out of all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("similarity", choices=SIMILARITIES)
    parser.add_argument("reports", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    findings = vocabulary()
    seconds_of_reports, _ = timed(lambda: sum(1 for _ in long_tail(arguments.reports, findings)))
    before = peak_bytes()
    similarity = SIMILARITIES[arguments.similarity]()
    seconds, _ = timed(lambda: similarity.fit(long_tail(arguments.reports, findings)))
    result = {
        "similarity": arguments.similarity,
        "reports": arguments.reports,
        "seconds": seconds,
        "seconds_of_making_reports": seconds_of_reports,
        "peak_bytes": peak_bytes(),
        "peak_bytes_before": before,
        **measured_batches(similarity, arguments.reports),
        "peak_bytes_with_batches": peak_bytes(),
    }
    print(json.dumps(result))


def measured_batches(similarity: SyntaxSimilarity, reports: int) -> dict[str, float]:
    """Return medians: select a batch from the operator of all, multiply it; ask for it by ids."""
    generator = torch.Generator().manual_seed(2)
    size = min(BATCH, reports)
    x = torch.randn(size, WIDTH, generator=generator)
    seconds_of_all, whole = timed(similarity.batch)
    selects, products, batches = [], [], []
    for _ in range(REPEATS):
        places = torch.randperm(reports, generator=generator)[:size]
        ids = [f"report {place}" for place in places.tolist()]
        select, block = timed(partial(whole.select, places, places))
        product, _ = timed(partial(block.matmul, x))
        batch, _ = timed(partial(batch_and_product, similarity, ids, x))
        selects.append(select)
        products.append(product)
        batches.append(batch)
    return {
        "batch": size,
        "seconds_of_operator_of_all": seconds_of_all,
        "seconds_of_select": statistics.median(selects),
        "seconds_of_first_product": statistics.median(products),
        "seconds_of_batch_and_product": statistics.median(batches),
    }


def batch_and_product(
    similarity: SyntaxSimilarity, ids: Sequence[str], x: torch.Tensor
) -> torch.Tensor:
    """Return the similarity of these reports, applied."""
    return similarity.batch(ids).matmul(x)


def timed(function: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def peak_bytes() -> int:
    """Return the most memory that this process has held.

    Not ``getrusage``: on Linux that begins with what the process that started this one held.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * KIB


if __name__ == "__main__":
    main()
