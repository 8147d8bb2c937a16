"""The part of ``loss.py`` that grows: seconds and memory of every loss, by rows and columns."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from loss_formulas import CLAMPED, COMPILED, LINEAR, WIDTH, Loss, batch, losses, one_table, step
from similarity_fit import timed

PEAK = Path(__file__).parent / "loss_peak.py"
FLOAT32, BFLOAT16 = "float32", "bfloat16"


class Size(NamedTuple):
    """What is measured, and how often."""

    rows: int
    width: int
    dtype: str
    repeats: int


SIZES = (
    Size(64, WIDTH, FLOAT32, 50),
    Size(256, WIDTH, FLOAT32, 50),
    Size(1024, 256, FLOAT32, 15),
    Size(1024, WIDTH, FLOAT32, 15),
    Size(1024, 1024, FLOAT32, 15),
    Size(1024, WIDTH, BFLOAT16, 15),
    Size(4096, 256, FLOAT32, 3),
    Size(4096, WIDTH, FLOAT32, 3),
    Size(4096, 1024, FLOAT32, 3),
    Size(4096, WIDTH, BFLOAT16, 3),
    Size(8192, WIDTH, FLOAT32, 3),
)
QUICK_SIZES = tuple(size._replace(repeats=3) for size in SIZES if size.rows <= 1024)
# Of the back end that keeps no table, alone.
MOST_ROWS, QUICK_MOST_ROWS = 16_384, 2_048
ALONE = "chunked"
# Below, what a step adds is lost in what a process allocates anyway.
MEMORY_ROWS = 1024


def measure_scaling(quick: bool) -> dict[str, Any]:
    """Return a row for each size of batch, and which losses could not be measured."""
    compared = losses()
    check_equal({name: loss for name, loss in compared.items() if name != CLAMPED})
    most = Size(QUICK_MOST_ROWS if quick else MOST_ROWS, WIDTH, FLOAT32, 1)
    rows = [measured(size, compared) for size in (QUICK_SIZES if quick else SIZES)]
    rows.append(measured(most, {ALONE: compared[ALONE]}))
    missing = [name for name in (LINEAR, COMPILED) if name not in compared]
    return {"sizes": rows, "not_to_be_had": missing}


def measured(size: Size, compared: Mapping[str, Loss]) -> dict[str, Any]:
    """Return medians of seconds, and what a step adds to the memory of a process of its own.

    Not of the compiled loss: what its compiler needed once is more than most steps.
    """
    leaves = batch(size.rows, size.width, getattr(torch, size.dtype))
    calls = {name: partial(step, x, leaves) for name, x in compared.items()}
    for call in calls.values():
        call()
    seconds = medians(calls, size.repeats)
    asked = [name for name in compared if name != COMPILED] if size.rows >= MEMORY_ROWS else []
    memory = {name: memory_of(name, size) for name in asked}
    row = {**size._asdict(), "seconds": seconds, "memory": memory}
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
    found = seconds_of_repeats(calls, repeats)
    return {name: statistics.median(values) for name, values in found.items()}


def seconds_of_repeats(
    calls: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
    """Return the seconds of calls that are made in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(timed(call)[0])
    return seconds


def memory_of(name: str, size: Size) -> dict[str, int]:
    """Return bytes, measured in a process of its own."""
    program = [sys.executable, str(PEAK), name, str(size.rows), str(size.width), size.dtype]
    finished = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, int] = json.loads(finished.stdout)
    return found
