"""The part of ``loss.py`` that grows: seconds and memory of every loss, by rows and columns."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from loss_formulas import CLAMPED, LINEAR, WIDTH, Loss, batch, losses, one_table, step
from similarity_fit import timed

PEAK = Path(__file__).parent / "loss_peak.py"
# Rows, columns, repeats.
SIZES = (
    (64, WIDTH, 50),
    (256, WIDTH, 50),
    (1024, 256, 15),
    (1024, WIDTH, 15),
    (1024, 1024, 15),
    (4096, WIDTH, 3),
    (8192, WIDTH, 3),
)
QUICK_SIZES = ((64, WIDTH, 5), (256, WIDTH, 5), (1024, 256, 3), (1024, WIDTH, 3), (1024, 1024, 3))
# Of the back end that keeps no table, alone.
MOST_ROWS, QUICK_MOST_ROWS = 16_384, 2_048
ALONE = "chunked"
# Below, what a step adds is lost in what a process allocates anyway.
FEWEST_ROWS_OF_MEMORY = 1024


def measure_scaling(quick: bool) -> dict[str, Any]:
    """Return a row for each size of batch, and which losses could not be measured."""
    compared = losses()
    check_equal({name: loss for name, loss in compared.items() if name != CLAMPED})
    most = (QUICK_MOST_ROWS if quick else MOST_ROWS, WIDTH, 1)
    rows = [measured(size, compared) for size in (QUICK_SIZES if quick else SIZES)]
    rows.append(measured(most, {ALONE: compared[ALONE]}))
    missing = [] if LINEAR in compared else [LINEAR]
    return {"sizes": rows, "not_in_this_torch": missing}


def measured(size: tuple[int, int, int], compared: Mapping[str, Loss]) -> dict[str, Any]:
    """Return medians of seconds, and what a step adds to the memory of a process of its own."""
    rows, width, repeats = size
    leaves = batch(rows, width)
    seconds = medians({name: partial(step, x, leaves) for name, x in compared.items()}, repeats)
    asked = rows >= FEWEST_ROWS_OF_MEMORY
    memory = {name: memory_of(name, rows, width) for name in compared} if asked else {}
    row = {"rows": rows, "width": width, "seconds": seconds, "memory": memory}
    print(row)
    return row


def check_equal(compared: Mapping[str, Loss]) -> None:
    """Compare the sides, so that equal things are timed; they are warm then."""
    leaves = batch(1024)
    images, texts, scale = (leaf.detach().double().requires_grad_() for leaf in leaves)
    exact: tuple[Tensor, ...] = step(one_table, (images, texts, scale))
    for name, loss in compared.items():
        for value, expected in zip(step(loss, leaves), exact, strict=True):
            error = (value.double() - expected).norm() / expected.norm()
            assert error < 1e-4, f"{name}: {error:.2e}"


def medians(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the median seconds of calls that are made in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(timed(call)[0])
    return {name: statistics.median(values) for name, values in seconds.items()}


def memory_of(name: str, rows: int, width: int) -> dict[str, int]:
    """Return bytes, measured in a process of its own."""
    program = [sys.executable, str(PEAK), name, str(rows), str(width)]
    finished = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, int] = json.loads(finished.stdout)
    return found
