"""A model sharded by FSDP over two processes has the gradients of the whole model in one."""

from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = Path(__file__).with_name("sharded_program.py")


@pytest.mark.parametrize("kind", ["loss", "primitive"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 5e-2)])
def test_gradients(
    ranks: list[dict[str, Any]], program: Any, kind: str, dtype: str, tolerance: float
) -> None:
    model, images, texts = program.made()
    whole = [slice(0, program.ROWS)] if kind == "loss" else [slice(0, 2), slice(2, program.ROWS)]
    losses = [program.loss_of(kind, model(images[rows], texts[rows]), rows, None) for rows in whole]
    torch.stack(losses).mean().backward()
    for name, parameter in model.named_parameters():
        expected = parameter.grad.flatten()
        for rank in ranks:
            actual = torch.tensor(rank[f"{kind}, {dtype}"][name])
            allowed = tolerance * max(expected.abs().max().item(), 1)
            torch.testing.assert_close(actual, expected, atol=allowed, rtol=0)
