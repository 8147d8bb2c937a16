"""What the loss is to its users, whatever computes it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

import selip_core.losses
from selip_core.losses import SimilarityCLIPLoss, Target, TiledTarget, similarity_clip_loss
from selip_core.similarity.operators import Dense, LowRank

backends = pytest.mark.parametrize("backend", ["chunked", "dense"])


def open_clip_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """As in open_clip's ClipLoss, in one process."""
    per_image = scale * images @ texts.T
    per_text = scale * texts @ images.T
    labels = torch.arange(len(images))
    return (cross_entropy(per_image, labels) + cross_entropy(per_text, labels)) / 2


def test_public_names() -> None:
    assert selip_core.losses.__all__ == sorted(selip_core.losses.__all__)
    assert isinstance(Dense(torch.eye(2)), Target)
    assert isinstance(Dense(torch.eye(2)), TiledTarget)


@backends
@pytest.mark.parametrize("rows", [1, 2, 7, 33])
def test_without_a_target_is_open_clip(
    rows: int, backend: str, batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    expected = results(open_clip_loss, batch(rows))
    actual = results(similarity_clip_loss, batch(rows), backend=backend)
    torch.testing.assert_close(actual, expected)
    doubled = results(similarity_clip_loss, batch(rows), backend=backend, align_weight=2.0)
    torch.testing.assert_close(doubled, [2 * value for value in expected])


@backends
def test_identity_target_is_clip(
    backend: str, batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    weights = {"align_weight": 0.25, "similarity_weight": 0.75}
    actual = results(
        similarity_clip_loss, batch(9), backend=backend, target=torch.eye(9), **weights
    )
    torch.testing.assert_close(actual, results(open_clip_loss, batch(9)))


class Unused(Dense):
    """A target whose products must not be asked for."""

    def matmul(self, x: Tensor) -> Tensor:
        raise AssertionError("a target without weight was multiplied")

    rmatmul = matmul


@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
@backends
def test_a_target_without_weight_costs_nothing(
    backend: str,
    clamp_eps: float | None,
    batch: Callable[..., Any],
    results: Callable[..., Any],
) -> None:
    options = {"backend": backend, "target": Unused(torch.eye(9)), "clamp_eps": clamp_eps}
    actual = results(similarity_clip_loss, batch(9), similarity_weight=0.0, **options)
    torch.testing.assert_close(actual, results(open_clip_loss, batch(9)))


def test_statistics_look_at_a_target_without_weight(batch: Callable[..., Any]) -> None:
    found = [
        similarity_clip_loss(
            *batch(9), target=torch.eye(9), similarity_weight=weight, return_stats=True
        ).statistics.image_to_text.similarity
        for weight in (0.0, 1.0)
    ]
    torch.testing.assert_close(*found)


@backends
def test_by_hand(backend: str) -> None:
    # Logits [[2, 0], [0, 2]], targets [[2/3, 1/3], [1/3, 2/3]]: every row and column has the
    # log-sum-exp log(e^2 + 1); CLIP attracts by 2, the target by 4/3.
    features, target = torch.eye(2), torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    loss = similarity_clip_loss(features, features, 2.0, target=target, backend=backend)
    expected = 2 * torch.tensor(2.0).exp().add(1).log() - 2 - 4 / 3
    torch.testing.assert_close(loss, expected)


@backends
@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
def test_order_of_pairs_does_not_matter(
    backend: str,
    clamp_eps: float | None,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
) -> None:
    (images, texts, scale), table = batch(7), similarities(7)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    options = {"backend": backend, "clamp_eps": clamp_eps}
    loss, *gradients = results(
        similarity_clip_loss, (images, texts, scale), target=table, **options
    )
    shuffled = (images[order], texts[order], scale)
    target = table[order][:, order]
    other, *other_gradients = results(similarity_clip_loss, shuffled, target=target, **options)
    torch.testing.assert_close(other, loss)
    torch.testing.assert_close(other_gradients[0], gradients[0][order])
    torch.testing.assert_close(other_gradients[1], gradients[1][order])
    torch.testing.assert_close(other_gradients[2], gradients[2])


@backends
def test_images_and_texts_may_be_swapped(
    backend: str,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
) -> None:
    (images, texts, scale), table = batch(7), similarities(7)
    loss = results(similarity_clip_loss, (images, texts, scale), target=table, backend=backend)
    swapped = results(similarity_clip_loss, (texts, images, scale), target=table.T, backend=backend)
    torch.testing.assert_close(swapped, [loss[0], loss[2], loss[1], loss[3]])


@backends
@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_logits_and_duplicates_stay_finite(
    backend: str, clamp_eps: float | None, dtype: torch.dtype, results: Callable[..., Any]
) -> None:
    images = normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    texts = images.roll(1, 0)
    images[1] = images[0]
    texts[3:] = texts[3]
    features = (images.to(dtype), texts.to(dtype), torch.tensor(1e4))
    target = torch.full((6, 6), 0.5)
    options = {"target": target, "backend": backend, "clamp_eps": clamp_eps}
    assert all(
        value.isfinite().all() for value in results(similarity_clip_loss, features, **options)
    )


@backends
def test_one_pair_has_no_loss(backend: str, batch: Callable[..., Any]) -> None:
    loss = similarity_clip_loss(*batch(1), target=torch.ones(1, 1), backend=backend)
    torch.testing.assert_close(loss.item(), 0.0)


@backends
@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
def test_autocast_rounds_nothing_inside(
    backend: str,
    clamp_eps: float | None,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
) -> None:
    features, target = batch(9, dtype=torch.float32), similarities(9)
    options = {"target": target, "backend": backend, "clamp_eps": clamp_eps}
    expected = results(similarity_clip_loss, features, **options)
    leaves = [leaf.detach().requires_grad_() for leaf in features]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = similarity_clip_loss(*leaves, **options)
    actual = [loss.detach(), *torch.autograd.grad(loss, leaves)]
    torch.testing.assert_close(actual, expected, atol=0, rtol=0)


def test_backward_within_autocast_rounds_nothing(
    batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    features = batch(9, dtype=torch.float32)
    expected = results(similarity_clip_loss, features, backend="chunked")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = results(similarity_clip_loss, features, backend="chunked")
    torch.testing.assert_close(actual, expected, atol=0, rtol=0)


def test_bfloat16_features_of_autocast() -> None:
    project = nn.Linear(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = project(torch.randn(5, 4))
        loss = similarity_clip_loss(features, features, 3.0, target=torch.eye(5))
    loss.backward()
    assert features.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert project.weight.grad is not None


@pytest.mark.parametrize("shape", [(), (1,)])
def test_scale_keeps_its_shape_and_type(shape: tuple[int, ...], batch: Callable[..., Any]) -> None:
    images, texts, _ = batch(4, dtype=torch.bfloat16)
    scale = torch.full(shape, 5.0, requires_grad=True)
    loss = similarity_clip_loss(images, texts, scale, backend="chunked")
    loss.backward()
    assert loss.shape == ()
    assert (scale.grad.shape, scale.grad.dtype) == (shape, torch.float32)
    assert (images.grad.dtype, texts.grad.dtype) == (torch.bfloat16, torch.bfloat16)


@backends
@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
def test_bias_changes_nothing_and_has_a_gradient(
    backend: str, clamp_eps: float | None, batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    options = {"target": torch.ones(5, 5), "backend": backend, "clamp_eps": clamp_eps}
    bias = torch.full((1,), -10.0, requires_grad=True)
    expected = results(similarity_clip_loss, batch(5), **options)
    actual = results(similarity_clip_loss, batch(5), logit_bias=bias, **options)
    torch.testing.assert_close(actual, expected, atol=0, rtol=0)
    similarity_clip_loss(*batch(5), logit_bias=bias, **options).backward()
    torch.testing.assert_close(bias.grad, torch.zeros(1), atol=0, rtol=0)
    similarity_clip_loss(*batch(5), logit_bias=-10.0, **options).backward()


def test_is_called_as_open_clip_calls_its_loss(batch: Callable[..., Any]) -> None:
    names = ("image_features", "text_features", "logit_scale", "logit_bias")
    model_output = dict(zip(names, (*batch(5), torch.tensor(-10.0)), strict=True))
    loss = SimilarityCLIPLoss()(**model_output, output_dict=True)
    torch.testing.assert_close(sum(loss.values()), open_clip_loss(*batch(5)))
    by_position = SimilarityCLIPLoss()(*model_output.values(), True)
    torch.testing.assert_close(by_position, loss)


@pytest.mark.parametrize("backend", ["chunked", "dense"])
@pytest.mark.parametrize("soft", [True, False])
def test_compiles_into_one_graph(
    backend: str, soft: bool, batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    factor = torch.rand(6, 2, dtype=torch.float64)
    target = LowRank(factor, factor) if soft else None
    options = {"target": target, "backend": backend, "label_smoothing": 0.1, "logit_bias": -1.0}
    compiled = torch.compile(similarity_clip_loss, backend="aot_eager", fullgraph=True)
    expected = results(similarity_clip_loss, batch(6), **options)
    torch.testing.assert_close(results(compiled, batch(6), **options), expected)


def test_module_is_the_function(
    batch: Callable[..., Any], similarities: Callable[..., Tensor]
) -> None:
    settings = {"align_weight": 0.5, "similarity_weight": 2.0, "clamp_eps": 1e-2}
    module = SimilarityCLIPLoss(**settings, backend="chunked")
    target = similarities(5)
    expected = similarity_clip_loss(*batch(5), target=target, **settings)
    torch.testing.assert_close(module(*batch(5), target=target), expected)
    as_open_clip = module(*batch(5), target=target, output_dict=True)
    assert list(as_open_clip) == ["contrastive_loss"]
    torch.testing.assert_close(as_open_clip["contrastive_loss"], expected)
    assert "clamp_eps=0.01" in repr(module)


def test_training_with_a_target_pulls_alike_reports_together() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.block_diag(*[torch.ones(2, 2)] * 4)
    leaves = [torch.randn(8, 8, generator=generator).requires_grad_() for _ in range(2)]
    optimizer = torch.optim.Adam(leaves, lr=0.05)
    for _ in range(100):
        images, texts = (normalize(leaf, dim=1) for leaf in leaves)
        loss = similarity_clip_loss(images, texts, 10.0, target=target, align_weight=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    cosines = images @ texts.T
    assert cosines[target == 1].min() > cosines[target == 0].max() + 0.3
