"""The memory of one step of one loss in this process, as one line of JSON; ``loss.py`` starts it.

Run: ``python benchmarks/loss_peak.py chunked 8192 512 float32``.
"""

import argparse
import json

import torch

from loss_formulas import batch, losses, step
from similarity_fit import THREADS, peak_bytes

WARM_UP_ROWS = 128


def main() -> None:
    """Step once on few rows, for what libraries keep, and then on all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("loss", choices=losses())
    parser.add_argument("rows", type=int)
    parser.add_argument("width", type=int)
    parser.add_argument("dtype")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    loss = losses()[arguments.loss]
    dtype = getattr(torch, arguments.dtype)
    step(loss, batch(WARM_UP_ROWS, arguments.width, dtype))
    leaves = batch(arguments.rows, arguments.width, dtype)
    before = peak_bytes()
    gradients = step(loss, leaves)
    after = peak_bytes()
    result = {
        "peak_bytes_before": before,
        "peak_bytes": after,
        "step_bytes": after - before,
        "gradient_bytes": sum(gradient.nbytes for gradient in gradients),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
