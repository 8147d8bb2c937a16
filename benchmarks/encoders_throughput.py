"""The parts of ``encoders.py`` that step through every encoder, each in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from encoders_case import VARIANTS
from encoders_cost import GIB, Cost, reference_cost, refusal
from selip_core import list_image_encoders
from selip_core.encoders.spec import Size

CASE = Path(__file__).parent / "encoders_case.py"
SIZES: tuple[Size, ...] = ((24, 224, 224), (32, 256, 256), (96, 96, 96))
QUICK_SIZES: tuple[Size, ...] = ((32, 48, 48),)
QUICK_ENCODERS = ("resnet10", "vit_small")
MINUTES, QUICK_MINUTES = 16.0, 1.0
MOST_BYTES = 12 * GIB  # kept for the backward pass; a case over it would swap
START = 6.0  # seconds that a process needs before its first step
STEPS = 2  # that a case is given time for, the first to warm up
LEAST = 3.0  # seconds of steps of a case that takes less


@dataclass(frozen=True)
class Case:
    """An encoder at a size, and what it is expected to cost, or why it cannot be run."""

    name: str
    size: Size
    cost: Cost | None = None
    reason: str | None = None

    @property
    def seconds(self) -> float:
        """Seconds that the case takes, roughly."""
        return START + self.seconds_of_steps if self.cost else 0.0

    @property
    def seconds_of_steps(self) -> float:
        """Seconds after which no further step is begun."""
        return max(LEAST, STEPS * self.cost.seconds) if self.cost else LEAST


def measure_throughput(quick: bool) -> dict[str, Any]:
    """Return a row for every case: what was measured, or why it was skipped."""
    return measured(quick, "cpu", ("plain",), QUICK_MINUTES if quick else MINUTES)


def measure_gpu(quick: bool) -> dict[str, Any]:
    """Return rows of each variant, or why there are none."""
    if not torch.cuda.is_available():
        return {"not_run": "no CUDA device"}
    found = measured(quick, "cuda", VARIANTS, float("inf"))
    return {"device": torch.cuda.get_device_name(), "dtype": "bfloat16", **found}


def measured(quick: bool, device: str, variants: Sequence[str], minutes: float) -> dict[str, Any]:
    """Run the cases that fit into the time, the cheapest first."""
    cases = chosen_cases(quick, device, minutes)
    end = time.perf_counter() + minutes * 60
    rows: dict[Case, list[dict[str, Any]]] = {}
    for case in sorted(cases, key=lambda case: case.seconds):
        late = "the time of the run was over" if time.perf_counter() > end else None
        reason = case.reason or late
        for variant in variants:
            row = {"encoder": case.name, "size": case.size, "variant": variant}
            row |= {"skipped": reason} if reason else run(case, device, variant)
            rows.setdefault(case, []).append(row)
            print(row, flush=True)
    return {"rows": [row for case in cases for row in rows[case]]}


def chosen_cases(quick: bool, device: str, minutes: float) -> list[Case]:
    """Return all cases by name and size; of those beyond the limits, with the reason."""
    names = QUICK_ENCODERS if quick else list_image_encoders()
    cases = [case for name in names for case in cases_of(name, QUICK_SIZES if quick else SIZES)]
    left = minutes * 60
    kept: dict[tuple[str, Size], Case] = {}
    for case in sorted(cases, key=lambda case: case.seconds):
        reason = case.reason
        if device == "cpu" and case.cost and case.cost.kept_bytes > MOST_BYTES:
            reason = f"would keep {case.cost.kept_bytes / GIB:.0f} GiB for the backward pass"
        elif case.seconds > left:
            reason = f"would take about {case.seconds:.0f} s, more than the run has left"
        if reason is None:
            left -= case.seconds
        kept[case.name, case.size] = Case(case.name, case.size, case.cost, reason)
    return [kept[case.name, case.size] for case in cases]


def cases_of(name: str, sizes: Sequence[Size]) -> list[Case]:
    """Return an encoder at every size, with its cost."""
    try:
        cost = reference_cost(name)
    except ImportError as error:
        reason = f"not installed: {error.name}"
        return [Case(name, size, reason=reason) for size in sizes]
    refusals = [refusal(name, size) for size in sizes]
    return [
        Case(name, size, None if reason else cost.at(size), reason)
        for size, reason in zip(sizes, refusals, strict=True)
    ]


def run(case: Case, device: str, variant: str) -> dict[str, Any]:
    """Return what a process of its own measured, or how it ended."""
    program = [sys.executable, str(CASE), case.name, *map(str, case.size)]
    program += ["--device", device, "--variant", variant]
    program += ["--seconds", f"{case.seconds_of_steps:.1f}"]
    finished = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode:
        return {"skipped": f"ended with {finished.returncode}: out of memory, or see above"}
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found
