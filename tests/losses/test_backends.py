"""Every back end against the definition written out in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from selip_core.losses import SimilarityCLIPLoss, similarity_clip_loss
from selip_core.losses.backends import BACKENDS, select_backend
from selip_core.losses.chunked import row_blocks
from selip_core.similarity.operators import Dense, Identity, LowRank, ScaledSum
from selip_core.testing import oracle

SIZES = [1, 2, 7, 33, 64]


# The Triton kernels have tests of their own.
@pytest.fixture(params=sorted({*BACKENDS} - {"triton"}))
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_is_its_definition(
    backend: str,
    rows: int,
    symmetric: bool,
    dtype: torch.dtype,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
) -> None:
    features, target = batch(rows, dtype=dtype), similarities(rows, symmetric=symmetric)
    actual = results(similarity_clip_loss, features, target=target, backend=backend)
    expected = oracle(*features, target=target)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    assert all(value.dtype == dtype for value in actual)
    for value, reference in zip(actual, expected, strict=True):
        magnitude = float(reference.abs().max()) + 1
        torch.testing.assert_close(value.double(), reference, atol=tolerance * magnitude, rtol=0)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("eps", [1e-1, 1e-3])
def test_clamped_total_is_the_authors(
    backend: str,
    rows: int,
    eps: float,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
    authors_total: Callable[..., Tensor],
) -> None:
    features, target = batch(rows), similarities(rows)
    weights = {"align": 0.7, "NegKL": 1.6}
    config = {"include_positive": True, "sim_norm_mode": "linear", "KL_way": 1, "eps": eps}
    options = {"similarities": target, "config": {**config, "loss_alpha": weights}}
    expected = results(authors_total, features, **options)
    actual = results(
        similarity_clip_loss,
        features,
        target=target,
        align_weight=0.7,
        similarity_weight=1.6,
        clamp_eps=eps,
        backend=backend,
    )
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-11)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("clamp_eps", [None, 1e-2])
def test_gradients_by_finite_differences(
    backend: str,
    clamp_eps: float | None,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
) -> None:
    def loss(*leaves: Tensor) -> Tensor:
        return similarity_clip_loss(*leaves, target=target, backend=backend, clamp_eps=clamp_eps)

    target = similarities(5)
    assert torch.autograd.gradcheck(loss, batch(5, 3))


@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
def test_operators_and_their_tables_agree(
    backend: str, clamp_eps: float | None, batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    factor = torch.rand(6, 2, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 4, 5])
    parts = (
        LowRank(factor, factor),
        Identity(labels, labels, torch.ones_like(labels, dtype=torch.float64)),
    )
    operator = ScaledSum((0.3, 0.7), parts)
    options = {"backend": backend, "clamp_eps": clamp_eps}
    by_operator = results(similarity_clip_loss, batch(6), target=operator, **options)
    by_table = results(similarity_clip_loss, batch(6), target=operator.dense(), **options)
    torch.testing.assert_close(by_operator, by_table)


def test_target_is_detached_and_of_any_scale(
    backend: str, batch: Callable[..., Any], similarities: Callable[..., Tensor]
) -> None:
    target = similarities(6).requires_grad_()
    loss = similarity_clip_loss(*batch(6), target=target, backend=backend)
    loss.backward()
    assert target.grad is None
    scaled = similarity_clip_loss(*batch(6), target=Dense(target / 3), backend=backend)
    torch.testing.assert_close(loss, scaled)


@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
def test_second_derivative_is_refused_by_the_single_node(
    batch: Callable[..., Any], clamp_eps: float | None
) -> None:
    leaves, options = batch(4), {"target": torch.ones(4, 4), "clamp_eps": clamp_eps}
    loss = similarity_clip_loss(*leaves, backend="chunked", **options)
    expected = torch.autograd.grad(loss, leaves, retain_graph=True)
    gradients = torch.autograd.grad(loss, leaves, create_graph=True)
    torch.testing.assert_close([x.detach() for x in gradients], list(expected))
    for gradient in gradients:
        with pytest.raises(RuntimeError, match=r"no second derivative .* use backend='dense'"):
            torch.autograd.grad(gradient.square().sum(), leaves)


@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_second_derivative_in_one_input_is_refused(
    index: int, dtype: torch.dtype, clamp_eps: float | None, batch: Callable[..., Any]
) -> None:
    leaves = [leaf.detach() for leaf in batch(4, dtype=dtype)]
    leaf = leaves[index].requires_grad_()
    options = {"target": torch.ones(4, 4), "clamp_eps": clamp_eps, "backend": "chunked"}
    (gradient,) = torch.autograd.grad(
        similarity_clip_loss(*leaves, **options), leaf, create_graph=True
    )
    with pytest.raises(RuntimeError, match=r"no second derivative .* use backend='dense'"):
        (gradient.sum() + leaf.sum()).backward()


def test_derivative_of_a_gradient_by_a_weight_of_the_loss_is_refused(
    batch: Callable[..., Any],
) -> None:
    leaves = [leaf.detach() for leaf in batch(4)]
    weight, images = torch.tensor(2.0, requires_grad=True), leaves[0].requires_grad_()
    loss = weight * similarity_clip_loss(*leaves, backend="chunked")
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    with pytest.raises(RuntimeError, match=r"no second derivative .* use backend='dense'"):
        torch.autograd.grad(gradient.sum() + weight, weight)


def test_second_derivative_of_dense(batch: Callable[..., Any]) -> None:
    assert torch.autograd.gradgradcheck(
        lambda *leaves: similarity_clip_loss(*leaves, backend="dense"), batch(3, 2)
    )


def test_auto_is_dense_for_small_batches_only() -> None:
    assert select_backend("auto", 512, across_processes=False) is BACKENDS["dense"]
    assert select_backend("auto", 513, across_processes=False) is BACKENDS["chunked"]
    assert select_backend("auto", 8, across_processes=True) is BACKENDS["chunked"]


def test_backend_is_obeyed_or_refused() -> None:
    assert select_backend("dense", 10**6, across_processes=False) is BACKENDS["dense"]
    with pytest.raises(ValueError, match=r"one of \['auto', 'chunked', 'dense', 'triton'\], got"):
        SimilarityCLIPLoss(backend="fast")
    with pytest.raises(ValueError, match="dense back end needs the whole batch in one process"):
        select_backend("dense", 8, across_processes=True)


def test_blocks_cover_all_rows_within_the_workspace() -> None:
    images, texts = torch.empty(5000, 1), torch.empty(20000, 1)
    blocks = list(row_blocks(images, texts))
    assert [row for block in blocks for row in range(5000)[block]] == list(range(5000))
    assert blocks[0].stop * 20000 * 4 * 3 <= 32 * 2**20
