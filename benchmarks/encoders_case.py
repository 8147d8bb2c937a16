"""Steps of one encoder at one size in this process, as one line of JSON; ``encoders.py`` starts it.

Run: ``python benchmarks/encoders_case.py resnet18 96 96 96 --seconds 10``.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from selip_core.encoders import create_image_encoder
from similarity_fit import THREADS, peak_bytes, timed

PLAIN, LAST, COMPILED = "plain", "channels-last", "channels-last, compiled"
VARIANTS = (PLAIN, LAST, COMPILED)
FEWEST_BATCH = 1
GPU_BATCH = 16
MOST_STEPS = 5
GPU_STEPS = 20


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name")
    parser.add_argument("size", type=int, nargs=3)
    parser.add_argument("--seconds", type=float, default=10, help="after these no step is begun")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--variant", choices=VARIANTS, default=PLAIN)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    if arguments.device == "cuda":
        result = measured_on_gpu(arguments.name, arguments.size, arguments.variant)
    else:
        result = measured_on_cpu(arguments.name, arguments.size, arguments.seconds)
    print(json.dumps(result))


def measured_on_cpu(name: str, size: list[int], seconds: float) -> dict[str, Any]:
    """Return the median of steps, and the memory of the process before and at its most."""
    encoder = create_image_encoder(name)
    x = torch.randn(FEWEST_BATCH, 1, *size)
    before = peak_bytes()
    begun = time.perf_counter()
    first, _ = timed(partial(step, encoder, x))
    steps: list[float] = []
    while len(steps) < MOST_STEPS and time.perf_counter() - begun < seconds:
        steps.append(timed(partial(step, encoder, x))[0])
    after = peak_bytes()
    return {
        "parameters": encoder.spec.parameter_count,
        "batch": FEWEST_BATCH,
        "seconds": statistics.median(steps or [first]),
        "steps": len(steps) or 1,
        "warm": bool(steps),
        "peak_bytes": after,
        "step_bytes": after - before,
    }


def measured_on_gpu(name: str, size: list[int], variant: str) -> dict[str, Any]:
    """Return the median of steps with the largest batch, of 16 or halves of it, that fits."""
    batch = GPU_BATCH
    while True:
        try:
            return gpu_steps(name, size, variant, batch)
        except torch.cuda.OutOfMemoryError:
            if batch == FEWEST_BATCH:
                raise
            batch //= 2
            torch.cuda.empty_cache()


def gpu_steps(name: str, size: list[int], variant: str, batch: int) -> dict[str, Any]:
    """Return the median of steps of a batch in bfloat16."""
    encoder: nn.Module = create_image_encoder(name).cuda()
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    x = torch.randn(batch, 1, *size, device="cuda")
    if variant != PLAIN:
        encoder = encoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        x = x.to(memory_format=torch.channels_last_3d)
    run: Callable[[Tensor], Tensor] = torch.compile(encoder) if variant == COMPILED else encoder
    call = partial(step, run, x, dtype=torch.bfloat16)
    for _ in range(3):
        call()
    torch.cuda.reset_peak_memory_stats()
    seconds = [timed(partial(synchronised, call))[0] for _ in range(GPU_STEPS)]
    return {
        "parameters": parameters,
        "batch": batch,
        "seconds": statistics.median(seconds),
        "steps": GPU_STEPS,
        "warm": True,
        "peak_bytes": torch.cuda.max_memory_allocated(),
    }


def synchronised(call: Callable[[], None]) -> None:
    """Call, and wait for the device."""
    call()
    torch.cuda.synchronize()


def step(run: Callable[[Tensor], Tensor], x: Tensor, dtype: torch.dtype | None = None) -> None:
    """Go forward and backward once; gradients are added to those that are there."""
    with torch.autocast(x.device.type, dtype=dtype) if dtype else nullcontext():
        embedding = run(x)
    torch.autograd.backward(embedding.float().square().mean())


if __name__ == "__main__":
    main()
