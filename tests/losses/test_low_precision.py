"""Errors in low precision, measured against float64 on the same rounded features.

At convergence attraction and repulsion nearly cancel, which random features do not show. "Rounded
tiles" are what a GPU's matrix units take; a CPU computes in float32.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from selip_core.losses import one_node, similarity_clip_loss

ROWS, WIDTH, SCALE = 256, 64, 1 / 0.07
LABELS = torch.arange(ROWS) // 2
TARGET = (LABELS[:, None] == LABELS).float()
low = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
kinds = pytest.mark.parametrize("kind", ["random", "converged"])


@pytest.fixture(scope="module")
def features() -> dict[str, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(ROWS, WIDTH, generator=generator).requires_grad_() for _ in range(2)]
    random = [normalize(leaf.detach(), dim=1) for leaf in leaves]
    optimizer = torch.optim.Adam(leaves, lr=0.03)
    for _ in range(300):
        images, texts = (normalize(leaf, dim=1) for leaf in leaves)
        loss = similarity_clip_loss(images, texts, SCALE, target=TARGET)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    converged = [normalize(leaf.detach(), dim=1) for leaf in leaves]
    return {"random": (random[0], random[1]), "converged": (converged[0], converged[1])}


@pytest.fixture(params=["float32 tiles", "rounded tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "rounded tiles":
        monkeypatch.setattr(one_node, "working", lambda tensor: tensor)
    return request.param


def textbook(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """The dense loss as written by hand: products in low precision, the rest in float32."""
    logits = scale * (images @ texts.T).float()
    wanted = torch.eye(ROWS) + (TARGET / TARGET.sum(1, keepdim=True) + TARGET / TARGET.sum(0)) / 2
    repulsion = logits.logsumexp(1).mean() + logits.logsumexp(0).mean()
    return repulsion - (wanted * logits).sum() / ROWS


def errors(
    results: Callable[..., Any], loss_fn: Callable[..., Tensor], given: list[Tensor], **options: Any
) -> list[float]:
    exact = results(similarity_clip_loss, [x.double() for x in given], target=TARGET)
    actual = results(loss_fn, given, **options)
    return [
        float((value.double() - reference).norm() / reference.norm())
        for value, reference in zip(actual, exact, strict=True)
    ]


@low
@kinds
def test_error_is_bounded_by_the_dense_error(
    features: dict[str, Any],
    results: Callable[..., Any],
    tiles: str,
    dtype: torch.dtype,
    kind: str,
) -> None:
    given = [*(x.to(dtype) for x in features[kind]), torch.tensor(SCALE)]
    chunked = errors(results, similarity_clip_loss, given, target=TARGET, backend="chunked")
    if tiles == "float32 tiles":
        dense = errors(results, similarity_clip_loss, given, target=TARGET, backend="dense")
    else:
        dense = errors(results, textbook, given)
    allowed = 2 if kind == "random" else 4
    # Of a single number the error may be small by chance: that of rounding it is no fault.
    floor = 1e-6 if tiles == "float32 tiles" else torch.finfo(dtype).eps
    floors = [floor, 0, 0, floor]
    for error, bound, least in zip(chunked, dense, floors, strict=True):
        assert error <= allowed * bound + least
