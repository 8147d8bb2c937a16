"""Inputs at the edge: values and gradients are finite, and those of float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from selip_core.losses import bidirectional_logsumexp, similarity_clip_loss

ROWS, WIDTH = 9, 6
# What becomes of unit vectors, and the scale: logits of 1e4, and the scale at its usual clamp.
EXTREMES: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "logits of 1e4": (lambda unit: 1e2 * unit, 1.0),
    "scale at its clamp": (lambda unit: unit, 100.0),
    "duplicate rows": (lambda unit: unit[:1].expand(ROWS, -1), 100.0),
    "all equal": (lambda unit: torch.full_like(unit, WIDTH**-0.5), 100.0),
    "batch of one": (lambda unit: unit[:1], 100.0),
    "zeros": (torch.zeros_like, 100.0),
}


def loss(images: Tensor, texts: Tensor, scale: Tensor, backend: str) -> Tensor:
    target = torch.eye(len(images)) + 0.2
    return similarity_clip_loss(images, texts, scale, target=target, backend=backend)


def primitive(images: Tensor, texts: Tensor, scale: Tensor, backend: str) -> Tensor:
    rows, columns = bidirectional_logsumexp(images, texts, scale, logit_bias=-10, backend=backend)
    return rows.mean() - columns.square().mean() / 1e3


@pytest.mark.parametrize("function", [loss, primitive])
@pytest.mark.parametrize("backend", ["chunked", "dense"])
@pytest.mark.parametrize("kind", EXTREMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.usefixtures("small_blocks")
def test_is_the_float64_result(
    function: Callable[..., Tensor],
    backend: str,
    kind: str,
    dtype: torch.dtype,
    results: Callable[..., Any],
) -> None:
    changed, scale = EXTREMES[kind]
    drawn = torch.randn(2, ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    features = [changed(unit).to(dtype) for unit in normalize(drawn, dim=2)]
    leaves = [*features, torch.tensor(scale)]
    actual = results(function, leaves, backend=backend)
    exact = results(function, [leaf.double() for leaf in leaves], backend="dense")
    assert [value.dtype for value in actual] == [torch.float32, dtype, dtype, torch.float32]
    # A probability is known as well as its logit, which is as large as these.
    length = max(features[0].double().norm(dim=1).max().item(), 1.0)
    of_logits = 4 * torch.finfo(torch.float32).eps * scale * length**2
    bounds = [of_logits, *[of_logits * scale * length] * 2, of_logits * length**2]
    for value, reference, bound in zip(actual, exact, bounds, strict=True):
        rounding = torch.finfo(value.dtype).eps * reference.abs().max().item()
        torch.testing.assert_close(value.double(), reference, atol=bound + rounding, rtol=0)
