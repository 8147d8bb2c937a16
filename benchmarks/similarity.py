"""Time and memory of the similarity of findings, beside the double loop that one would write.

Run: ``python benchmarks/similarity.py``, on a machine that does nothing else. Parts can be measured
one by one (``--only batch``); the result keeps what it has of the others. ``--quick`` takes small
sizes, to see that everything runs. Parts:

- ``batch``: the operator of a batch of fitted reports and one product, beside the double loop of
  ``tests/similarity/double_loop.py`` and the dense product;
- ``product``: the factored product of many reports with few distinct findings, beside the dense;
- ``fit``: fits of growing corpora, each in a process of its own, and batches out of them.
"""

import argparse
import importlib.util
import itertools
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from results import RESULTS, write_result
from selip_core.findings import Report
from selip_core.similarity import (
    SimilarityOperator,
    SyntaxSimilarity,
    dice,
    exact,
)
from similarity_corpora import free_text, long_tail, vocabulary
from similarity_fit import THREADS, WIDTH, batch_and_product, timed

ROOT = Path(__file__).parents[1]
FIT = ROOT / "benchmarks" / "similarity_fit.py"
LOOP = ROOT / "tests" / "similarity" / "double_loop.py"
# The reference implementation of the paper's authors, on two cores of another machine.
QUOTED_SECONDS = {64: 0.077, 256: 1.48, 1024: 20.7}
SIMILARITIES: dict[str, Callable[[], SyntaxSimilarity]] = {
    "paper": SyntaxSimilarity.paper,
    "default": SyntaxSimilarity,
    "best, dice": lambda: SyntaxSimilarity(
        (0.5 * exact("site") + 0.5 * exact("signal")) * dice("text")
    ),
    "default, top 16": lambda: SyntaxSimilarity(top_k=16),
}
FITTED = 10_000
REPEATS, REPEATS_OF_LOOP = 15, 3
FEW_FINDINGS = 2_500


def measure_batches(quick: bool) -> list[dict[str, Any]]:
    """Return a row for each corpus and size of batch."""
    findings = vocabulary()
    fitted = 2_000 if quick else FITTED
    corpora = {
        "long tail": list(long_tail(fitted, findings)),
        "free text": list(free_text(fitted)),
    }
    sizes = (64, 256) if quick else (64, 256, 1024)
    rows = []
    for corpus, reports in corpora.items():
        similarities = {name: make().fit(reports) for name, make in SIMILARITIES.items()}
        for size in sizes:
            rows.append({"corpus": corpus, **batch_row(similarities, reports[:size])})
            print(rows[-1])
    return rows


def batch_row(
    similarities: dict[str, SyntaxSimilarity], reports: Sequence[Report]
) -> dict[str, Any]:
    """Return medians of the loop and of every similarity, measured in turn."""
    loop = load_double_loop()
    ids = [report.id for report in reports]
    x = torch.randn(len(ids), WIDTH, generator=torch.Generator().manual_seed(2))
    check_equals_loop(similarities["paper"], loop, reports[:64])
    loop_seconds: list[float] = []
    plain_seconds: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in similarities}

    def loop_and_product(table: Callable[[Sequence[Report]], list[list[float]]]) -> torch.Tensor:
        return torch.tensor(table(reports)) @ x

    for _ in range(REPEATS_OF_LOOP):
        plain_seconds.append(timed(partial(loop_and_product, loop.plain_similarity))[0])
        loop_seconds.append(timed(partial(loop_and_product, loop.paper_similarity))[0])
        for _ in range(REPEATS // REPEATS_OF_LOOP):
            for name, similarity in similarities.items():
                taken, _ = timed(partial(batch_and_product, similarity, ids, x))
                seconds[name].append(taken)
    return {
        "reports": len(reports),
        "distinct_findings": len({finding for report in reports for finding in report.findings}),
        "seconds_of_plain_loop": statistics.median(plain_seconds),
        "seconds_of_loop": statistics.median(loop_seconds),
        "quoted_seconds": QUOTED_SECONDS[len(reports)],
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
    }


def check_equals_loop(paper: SyntaxSimilarity, loop: ModuleType, reports: Sequence[Report]) -> None:
    """Compare the two sides, so that equal things are timed."""
    expected = torch.tensor(loop.paper_similarity(reports), dtype=torch.float64)
    plain = torch.tensor(loop.plain_similarity(reports), dtype=torch.float64)
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-12)
    actual = paper.batch([report.id for report in reports], dtype=torch.float64).dense()
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def load_double_loop() -> ModuleType:
    """Return the reference that the tests use."""
    spec = importlib.util.spec_from_file_location("double_loop", LOOP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def measure_product(quick: bool) -> dict[str, Any]:
    """Return time and bytes of the factored and of the dense product of many reports."""
    count, repeats = (2_048, 3) if quick else (16_384, 5)
    findings = vocabulary(FEW_FINDINGS // 8 if quick else FEW_FINDINGS)
    operator = SyntaxSimilarity.paper().fit(long_tail(count, findings)).batch()
    dense = operator.dense()
    x = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(operator.matmul(x), dense @ x, rtol=1e-3, atol=1e-3)
    factored_seconds, dense_seconds = [], []
    for _ in range(repeats):
        factored_seconds.append(timed(lambda: operator.matmul(x))[0])
        dense_seconds.append(timed(lambda: dense @ x)[0])
    result = {
        "reports": count,
        "distinct_findings": distinct_findings(operator),
        "seconds": statistics.median(factored_seconds),
        "dense_seconds": statistics.median(dense_seconds),
        "bytes": operator.nbytes,
        "dense_bytes": dense.nbytes,
    }
    print(result)
    return result


def distinct_findings(operator: SimilarityOperator) -> int:
    """Return the width of the factor; fails if the operator is not factored."""
    factored, _ = operator.operators  # type: ignore[attr-defined]
    width: int = factored.kernel.shape[0]
    assert width <= operator.shape[0] / 2
    return width


def measure_fits(quick: bool) -> dict[str, Any]:
    """Return a row for each similarity and size, and how the seconds grow with the size."""
    sizes = (1_000, 10_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    rows = []
    for name, size in itertools.product(("paper", "default"), sizes):
        program = [sys.executable, str(FIT), name, str(size)]
        finished = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(finished.stdout))
        print(rows[-1])
    growth = {
        name: growth_exponent([row for row in rows if row["similarity"] == name])
        for name in ("paper", "default")
    }
    print(growth)
    return {"rows": rows, "growth_exponent": growth}


def growth_exponent(rows: Sequence[dict[str, Any]]) -> float:
    """Return the slope of log seconds over log reports between the two largest; 1 is linear."""
    before, last = rows[-2:]
    slope: float = math.log(last["seconds"] / before["seconds"])
    return slope / math.log(last["reports"] / before["reports"])


PARTS: dict[str, Callable[[bool], Any]] = {
    "batch": measure_batches,
    "product": measure_product,
    "fit": measure_fits,
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing to be quoted")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    path = RESULTS / "similarity.json"
    parts = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.exists() else {}
    for name in arguments.only:
        measured = {"date": datetime.now(UTC).date().isoformat(), "quick": arguments.quick}
        parts[name] = {**measured, "result": PARTS[name](arguments.quick)}
        print(write_result("similarity", {"product_width": WIDTH, "parts": parts}).name)


if __name__ == "__main__":
    main()
