"""The part of ``loss.py`` that measures the share of the loss in a whole training step.

A small image encoder on small random volumes, text features of a frozen encoder with a trained
projection, AdamW. Larger networks and volumes make the share smaller. Batch normalisation has fixed
statistics, as chunks need it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from loss_formulas import WIDTH, batch, step
from loss_scaling import medians
from selip_core import DualEncoder
from selip_core.encoders import create_image_encoder
from selip_core.losses import SimilarityCLIPLoss, cached_contrastive_step

ENCODER, ENCODER_WIDTH = "resnet10", 0.25
# The smallest that all its strides still leave something of.
VOLUME = (16, 16, 16)
TEXT_WIDTH = 384
# Rows, rows of a chunk where gradients are cached, repeats.
SIZES: tuple[tuple[int, int | None, int], ...] = ((64, None, 7), (512, None, 3), (4096, 128, 1))
QUICK_SIZES: tuple[tuple[int, int | None, int], ...] = ((16, None, 2), (32, None, 2), (64, 16, 1))


def measure_steps(quick: bool) -> dict[str, Any]:
    """Return the setting and a row for each size of batch."""
    rows = [measured(*size) for size in (QUICK_SIZES if quick else SIZES)]
    network = {"encoder": ENCODER, "encoder_width": ENCODER_WIDTH, "volume": VOLUME}
    return {**network, "rows": rows}


def measured(rows: int, chunk_rows: int | None, repeats: int) -> dict[str, Any]:
    """Return medians of the whole step and of the loss alone on features of the same size."""
    encoder = create_image_encoder(ENCODER, width=ENCODER_WIDTH, embed_dim=WIDTH)
    model = DualEncoder(encoder, nn.Linear(TEXT_WIDTH, WIDTH)).eval()
    given = (torch.randn(rows, 1, *VOLUME), torch.randn(rows, TEXT_WIDTH))
    calls: dict[str, Callable[[], Any]] = {
        "step": partial(train, model, torch.optim.AdamW(model.parameters()), given, chunk_rows),
        "loss": partial(step, SimilarityCLIPLoss(), batch(rows)),
    }
    row = {"rows": rows, "chunk_rows": chunk_rows, "seconds": medians(calls, repeats)}
    print(row)
    return row


def train(
    model: DualEncoder,
    optimizer: torch.optim.Optimizer,
    given: Sequence[Tensor],
    chunk_rows: int | None,
) -> None:
    """Step once."""
    optimizer.zero_grad()
    if chunk_rows is None:
        SimilarityCLIPLoss()(*model(*given)).backward()
    else:
        cached_contrastive_step(model, tuple(given), SimilarityCLIPLoss(), chunk_rows)
    optimizer.step()
    model.clamp_logit_scale_()
