"""The chunked back end where matrix units multiply in low precision and add up in float32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from selip_core.losses import similarity_clip_loss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_is_the_float64_result(
    rows: int,
    dtype: torch.dtype,
    clamp_eps: float | None,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
) -> None:
    features, target = batch(rows, dtype=dtype), similarities(rows)
    options = {"backend": "chunked", "clamp_eps": clamp_eps}
    exact = results(
        similarity_clip_loss, [leaf.double() for leaf in features], target=target, **options
    )
    on_gpu = [leaf.cuda() for leaf in features]
    actual = results(similarity_clip_loss, on_gpu, target=target.cuda(), **options)
    tolerance = 4 * torch.finfo(dtype).eps
    for value, reference in zip(actual, exact, strict=True):
        magnitude = float(reference.abs().max()) + 1
        torch.testing.assert_close(
            value.cpu().double(), reference, atol=tolerance * magnitude, rtol=0
        )


@pytest.mark.parametrize("backend", ["chunked", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_are_those_of_the_cpu(
    backend: str, dtype: torch.dtype, batch: Callable[..., Any], similarities: Callable[..., Tensor]
) -> None:
    features, target = batch(300, dtype=dtype), similarities(300)
    options = {"backend": backend, "return_stats": True}
    exact = similarity_clip_loss(
        *(leaf.double() for leaf in features), target=target, **{**options, "backend": "chunked"}
    )
    actual = similarity_clip_loss(
        *(leaf.cuda() for leaf in features), target=target.cuda(), **options
    )
    expected = exact.statistics.as_dict()
    for name, value in actual.statistics.as_dict().items():
        torch.testing.assert_close(value.cpu().double(), expected[name].double(), atol=1e-3, rtol=0)
