"""Errors in low precision, measured against float64 on the same rounded features.

At convergence attraction and repulsion nearly cancel, which random features do not show. "Rounded
tiles" are what a GPU's matrix units take; a CPU computes in float32.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from selip_core.losses import one_node, similarity_clip_loss
from selip_core.testing import (
    ValueAndGradients,
    assert_as_exact_as_dense,
    converged_features,
    oracle,
    random_features,
    textbook_loss,
    value_and_gradients,
)

ROWS, WIDTH, SCALE = 256, 64, 1 / 0.07
LABELS = torch.arange(ROWS) // 2
TARGET = (LABELS[:, None] == LABELS).float()
low = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
kinds = pytest.mark.parametrize("kind", ["random", "converged"])


@pytest.fixture(scope="module")
def features() -> dict[str, tuple[Tensor, Tensor]]:
    converged = converged_features(TARGET, WIDTH, SCALE)
    return {"random": random_features(ROWS, ROWS, WIDTH), "converged": converged}


@pytest.fixture(params=["float32 tiles", "rounded tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "rounded tiles":
        monkeypatch.setattr(one_node, "working", lambda tensor: tensor)
    return request.param


@low
@kinds
def test_error_is_bounded_by_the_dense_error(
    features: dict[str, tuple[Tensor, Tensor]], tiles: str, dtype: torch.dtype, kind: str
) -> None:
    given = [*(x.to(dtype) for x in features[kind]), SCALE]

    def computed(loss_fn: Callable[..., Tensor], **options: str) -> ValueAndGradients:
        return value_and_gradients(loss_fn, *given, target=TARGET, **options)

    if tiles == "float32 tiles":
        dense, precision = computed(similarity_clip_loss, backend="dense"), torch.float32
    else:
        dense, precision = computed(textbook_loss), dtype
    assert_as_exact_as_dense(
        computed(similarity_clip_loss, backend="chunked"),
        dense,
        oracle(*given, target=TARGET),
        converged=kind == "converged",
        precision=precision,
    )
