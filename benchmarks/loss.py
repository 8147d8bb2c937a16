"""Time and memory of the loss, forward and backward, beside open_clip's, as ratios within one run.

Run: ``python benchmarks/loss.py``, on a machine that does nothing else; on two cores it takes about
five minutes. Parts can be measured one by one (``--only time``); the result keeps what it has of
the others. ``--quick`` takes small sizes, to see that everything runs. Parts:

- ``time``: seconds of a step of every loss, measured in turn; float32, 512 columns;
- ``memory``: what one step adds to the largest memory of a process of its own;
- ``target``: what a similarity adds to the step of plain CLIP, and a step with its table;
- ``gpu``: shares of a product's rate, open_clip's loss under autocast, Inf-CL, a million pairs. It
  needs a CUDA device; without one the result says that it was not run.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loss_formulas import FORMULA, SCALE, WIDTH, Loss, batch, losses, one_table, step
from loss_gpu import measure_gpu
from results import RESULTS, write_result
from selip_core.losses import similarity_clip_loss
from selip_core.similarity import SimilarityOperator, SyntaxSimilarity
from similarity_corpora import long_tail, vocabulary
from similarity_fit import THREADS, timed

PEAK = Path(__file__).parent / "loss_peak.py"
# By the rows of the batch.
REPEATS = {1024: 15, 2048: 3, 4096: 7, 8192: 5}
QUICK_ROWS = 2048
TARGETS: tuple[tuple[str, Callable[[], SyntaxSimilarity], int, int], ...] = (
    # Name, similarity, rows of the batch, findings that its reports are made of.
    ("paper", SyntaxSimilarity.paper, 16_384, 2_500),
    ("default, few contents", SyntaxSimilarity, 16_384, 14),
    ("default, many contents", SyntaxSimilarity, 4_096, 2_500),
)
TABLE_OF = "paper"
REPEATS_OF_TARGET = 3


def measure_times(quick: bool) -> list[dict[str, Any]]:
    """Return a row of medians for each size of batch."""
    rows = []
    for size in (1024, QUICK_ROWS) if quick else (1024, 4096, 8192):
        leaves = batch(size)
        check_equal(losses(), leaves)
        steps = {name: partial(step, loss, leaves) for name, loss in losses().items()}
        rows.append({"rows": size, "seconds": medians(steps, REPEATS[size])})
        print(rows[-1])
    return rows


def check_equal(compared: Mapping[str, Loss], leaves: tuple[Tensor, Tensor, Tensor]) -> None:
    """Compare the sides, so that equal things are timed; they are warm then."""
    images, texts, scale = (leaf.detach().double().requires_grad_() for leaf in leaves)
    exact = step(one_table, (images, texts, scale))
    for loss in compared.values():
        for value, expected in zip(step(loss, leaves), exact, strict=True):
            error = (value.double() - expected).norm() / expected.norm()
            assert error < 1e-4, f"{error:.2e}"


def medians(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the median seconds of calls that are made in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(timed(call)[0])
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure_memory(quick: bool) -> list[dict[str, Any]]:
    """Return a row for each loss and size of batch."""
    rows = []
    for size in (1024, QUICK_ROWS) if quick else (1024, 4096, 8192):
        for name in losses():
            program = [sys.executable, str(PEAK), name, str(size)]
            finished = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(finished.stdout))
            print(rows[-1])
    return rows


def measure_targets(quick: bool) -> list[dict[str, Any]]:
    """Return a row for each similarity."""
    rows = []
    for name, make, size, findings in TARGETS:
        count, repeats = (QUICK_ROWS, 1) if quick else (size, REPEATS_OF_TARGET)
        few = max(findings // 8, 12) if quick else findings
        rows.append({"similarity": name, **target_row(make(), count, few, repeats, name)})
        print(rows[-1])
    return rows


def target_row(
    similarity: SyntaxSimilarity, rows: int, findings: int, repeats: int, name: str
) -> dict[str, Any]:
    """Return medians of plain CLIP, and of the same with a target that is new to every step."""
    reports = list(long_tail(rows, vocabulary(findings)))
    ids = [report.id for report in reports]
    similarity.fit(reports)
    leaves = batch(rows)
    chunked: Loss = partial(similarity_clip_loss, backend="chunked")

    def softened() -> float:
        loss = partial(similarity_clip_loss, backend="chunked", target=similarity.batch(ids))
        return timed(partial(step, loss, leaves))[0]

    seconds = [(timed(partial(step, chunked, leaves))[0], softened()) for _ in range(repeats)]
    plain, with_target = (statistics.median(values) for values in zip(*seconds, strict=True))
    operator = similarity.batch(ids)
    found = {"plain": plain, "with target": with_target}
    if name == TABLE_OF:
        loss = partial(similarity_clip_loss, backend="dense", target=operator.dense())
        found["dense, with a table"] = timed(partial(step, loss, leaves))[0]
    return {"rows": rows, "width": width_of(operator), "seconds": found}


def width_of(operator: SimilarityOperator) -> int:
    """Return the width of the factor; fails if the operator is not factored."""
    factored, _ = operator.operators  # type: ignore[attr-defined]
    width: int = factored.kernel.shape[0]
    return width


PARTS: dict[str, Callable[[bool], Any]] = {
    "time": measure_times,
    "memory": measure_memory,
    "target": measure_targets,
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
    parts = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.exists() else {}
    for name in chosen.only:
        measured = {"date": datetime.now(UTC).date().isoformat(), "quick": chosen.quick}
        parts[name] = {**measured, "result": PARTS[name](chosen.quick)}
        setting = {"width": WIDTH, "logit_scale": SCALE, "threads": THREADS, "formula": FORMULA}
        print(write_result("loss", {**setting, "parts": parts}).name)


if __name__ == "__main__":
    main()
