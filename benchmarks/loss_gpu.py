"""The part of ``loss.py`` that needs a CUDA device: rates as shares of a product's, and memory."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from loss_formulas import (
    COMPILED,
    FORMULA,
    WIDTH,
    Loss,
    batch,
    one_table,
    open_clip_formula,
    step,
    wait_for,
)
from loss_targets import measure_targets
from selip_core.losses import similarity_clip_loss

DTYPE = torch.bfloat16
# Four products of N x N x D: what the loss needs, and what every other is counted with.
OPERATIONS_PER_PAIR_AND_COLUMN = 8


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        rows: Of the batch whose time is measured.
        side: Of the square product whose rate is the measure.
        most_rows: Of the batch whose memory is measured.
        repeats: Of each time.
        grid: Rows, columns and types of further batches.
    """

    rows: int = 32_768
    side: int = 8_192
    most_rows: int = 1_048_576
    repeats: int = 20
    grid: tuple[tuple[int, int, torch.dtype], ...] = (
        *((rows, WIDTH, torch.bfloat16) for rows in (64, 512, 4096, 16_384, 131_072)),
        *((32_768, width, torch.bfloat16) for width in (256, 1024)),
        *((rows, WIDTH, torch.float32) for rows in (512, 4096, 32_768)),
    )


QUICK = Sizes(
    rows=2_048,
    side=1_024,
    most_rows=16_384,
    repeats=3,
    grid=((64, WIDTH, torch.bfloat16), (512, 256, torch.float32)),
)


def measure_gpu(quick: bool) -> dict[str, Any]:
    """Return times, rates and memory; without a device, that it was not run."""
    if not torch.cuda.is_available():
        return {"not_run": "it needs a CUDA device"}
    found = measured_on("cuda", QUICK if quick else Sizes())
    return {**found, "targets": measure_targets(quick, "cuda")}


def measured_on(device: str, sizes: Sizes) -> dict[str, Any]:
    """Return everything, measured on this device."""
    left, right = (torch.randn(sizes.side, sizes.side, device=device).to(DTYPE) for _ in range(2))
    product_seconds = seconds_of(partial(torch.mm, left, right), device, sizes.repeats)
    product_rate = 2 * sizes.side**3 / product_seconds
    operations = OPERATIONS_PER_PAIR_AND_COLUMN * sizes.rows**2 * WIDTH
    leaves = batch(sizes.rows, dtype=DTYPE, device=device)
    rows = []
    for name, loss in compared(device, DTYPE).items():
        seconds = seconds_of(partial(step, loss, leaves), device, sizes.repeats)
        share = operations / seconds / product_rate
        peak = peak_bytes_of(loss, leaves, device)
        rows.append({"loss": name, "seconds": seconds, "share": share, "peak_bytes": peak})
        print(rows[-1])
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "dtype": name_of(DTYPE),
        "rows": sizes.rows,
        "side": sizes.side,
        "product_operations_per_second": product_rate,
        "losses": rows,
        "grid": [row for size in sizes.grid for row in measured_size(device, *size, sizes.repeats)],
        "most": measured_most(device, sizes.most_rows),
    }


def measured_size(
    device: str, rows: int, width: int, dtype: torch.dtype, repeats: int
) -> list[dict[str, Any]]:
    """Return seconds and bytes of every loss, None where the device's memory does not do."""
    leaves = batch(rows, width, dtype, device)
    found = []
    for name, loss in compared(device, dtype).items():
        row = {"rows": rows, "width": width, "dtype": name_of(dtype), "loss": name}
        try:
            row["seconds"] = seconds_of(partial(step, loss, leaves), device, repeats)
            row["peak_bytes"] = peak_bytes_of(loss, leaves, device)
        except torch.OutOfMemoryError:
            row["seconds"] = row["peak_bytes"] = None
        print(row)
        found.append(row)
    return found


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a type without that of torch."""
    return str(dtype).removeprefix("torch.")


def compared(device: str, dtype: torch.dtype) -> dict[str, Loss]:
    """Return the losses, by name; others' under autocast, as they are used in low precision."""
    torch.compiler.reset()  # or after a few sizes and types nothing would be compiled any more
    autocast = partial(torch.autocast, device, dtype=dtype, enabled=dtype != torch.float32)

    def under_autocast(loss: Loss) -> Loss:
        def call(*leaves: Tensor) -> Tensor:
            with autocast():
                return loss(*leaves)

        return call

    found: dict[str, Loss] = {
        "triton": partial(similarity_clip_loss, backend="triton"),
        "chunked": partial(similarity_clip_loss, backend="chunked"),
        FORMULA: under_autocast(open_clip_formula),
        COMPILED: under_autocast(torch.compile(one_table)),
    }
    if find_spec("inf_cl") is not None:
        found["inf-cl"] = inf_cl
    return found


def inf_cl(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return the loss of the package inf-cl on one device, a sweep for each direction."""
    from inf_cl import cal_flash_loss  # type: ignore[import-not-found]

    by_image: Tensor = cal_flash_loss(images, texts, scale=scale).mean()
    by_text: Tensor = cal_flash_loss(texts, images, scale=scale).mean()
    return (by_image + by_text) / 2


def measured_most(device: str, rows: int) -> dict[str, Any]:
    """Return seconds and bytes of one step of very many rows, by the Triton back end."""
    leaves = batch(rows, dtype=DTYPE, device=device)
    loss: Loss = partial(similarity_clip_loss, backend="triton")
    start = time.perf_counter()
    peak = peak_bytes_of(loss, leaves, device)
    result = {"rows": rows, "seconds": time.perf_counter() - start, "peak_bytes": peak}
    print(result)
    return result


def seconds_of(call: Callable[[], Any], device: str, repeats: int) -> float:
    """Return the median of calls that are waited for; two come before, to compile and tune."""
    seconds = []
    for _ in range(repeats + 2):
        wait_for(device)
        start = time.perf_counter()
        call()
        wait_for(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def peak_bytes_of(loss: Loss, leaves: tuple[Tensor, Tensor, Tensor], device: str) -> int | None:
    """Return the most bytes allocated during one step, features and gradients among them."""
    if device != "cuda":
        step(loss, leaves)
        return None
    torch.cuda.reset_peak_memory_stats()
    step(loss, leaves)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()
