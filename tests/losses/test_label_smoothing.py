"""Label smoothing is torch's own, of the own pairs and of the similarities, without a table."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from selip_core.losses import SimilarityCLIPLoss, similarity_clip_loss
from selip_core.losses.weights import Weights
from selip_core.similarity.operators import LowRank

pytestmark = pytest.mark.usefixtures("small_blocks")
backends = pytest.mark.parametrize("backend", ["chunked", "dense"])


def smoothed(images: Tensor, texts: Tensor, scale: Tensor, target: Tensor, share: float) -> Tensor:
    """By torch's cross_entropy, for classes and for probabilities alike."""
    logits = scale * images @ texts.T
    own_pairs = torch.arange(len(images))
    parts = [
        cross_entropy(table, wanted, label_smoothing=share)
        for table, wanted in (
            (logits, own_pairs),
            (logits.T, own_pairs),
            (logits, target / target.sum(1, keepdim=True)),
            (logits.T, target.T / target.T.sum(1, keepdim=True)),
        )
    ]
    return (parts[0] + parts[1]) / 2 + 0.7 * (parts[2] + parts[3]) / 2


@backends
@pytest.mark.parametrize("rows", [1, 2, 7, 33])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_is_that_of_cross_entropy(
    backend: str,
    rows: int,
    share: float,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
) -> None:
    features, target = batch(rows), similarities(rows)
    expected = results(smoothed, features, target=target, share=share)
    options = {"target": target, "similarity_weight": 0.7, "label_smoothing": share}
    actual = results(similarity_clip_loss, features, backend=backend, **options)
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-11)


@backends
def test_without_a_target(
    backend: str, batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    def clip(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        logits, own_pairs = scale * images @ texts.T, torch.arange(len(images))
        return sum(cross_entropy(x, own_pairs, label_smoothing=0.2) for x in (logits, logits.T)) / 2

    actual = results(similarity_clip_loss, batch(7), label_smoothing=0.2, backend=backend)
    torch.testing.assert_close(actual, results(clip, batch(7)))


@backends
def test_is_the_soft_target_written_out(
    backend: str,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
) -> None:
    # Rows and columns alike, as the table's are normalised and symmetric.
    table = similarities(6, symmetric=True)
    for _ in range(200):
        table = table / table.sum(1, keepdim=True)
        table = table / table.sum(0, keepdim=True)
    softened = 0.75 * table + 0.25 / 6
    options = {"align_weight": 0.0, "backend": backend}
    expected = results(similarity_clip_loss, batch(6), target=softened, **options)
    options["label_smoothing"] = 0.25
    actual = results(similarity_clip_loss, batch(6), target=table, **options)
    torch.testing.assert_close(actual, expected)


@backends
def test_by_hand(backend: str) -> None:
    # Logits [[2, 0], [0, 2]]: log-sum-exps log(e^2 + 1), attraction 3/4 of 2 and 1/8 + 1/8 of 2.
    loss = similarity_clip_loss(
        torch.eye(2), torch.eye(2), 2.0, label_smoothing=0.25, backend=backend
    )
    expected = torch.tensor(2.0).exp().add(1).log() - 0.75 * 2 - 0.125 * 2
    torch.testing.assert_close(loss, expected)


@backends
def test_gradients_by_finite_differences(backend: str, batch: Callable[..., Any]) -> None:
    factor = torch.rand(5, 2, dtype=torch.float64)
    options = {"target": LowRank(factor, factor), "label_smoothing": 0.3, "backend": backend}
    assert torch.autograd.gradcheck(
        lambda *leaves: similarity_clip_loss(*leaves, **options), batch(5, 3)
    )


def test_module_smooths(batch: Callable[..., Any]) -> None:
    module = SimilarityCLIPLoss(label_smoothing=0.1)
    expected = similarity_clip_loss(*batch(4), label_smoothing=0.1)
    torch.testing.assert_close(module(*batch(4)), expected)
    assert "label_smoothing=0.1" in repr(module)


def test_weights_are_kept() -> None:
    weights = Weights.of(1.0, 0.5, 0.2)
    whole = weights.own + weights.similarity + weights.uniform
    assert whole == pytest.approx(2 * weights.repulsion)


@pytest.mark.parametrize("share", [-0.1, 1.0, torch.nan])
def test_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing must be at least 0 and below 1, got"):
        similarity_clip_loss(torch.eye(2), torch.eye(2), 1.0, label_smoothing=share)
    with pytest.raises(ValueError, match="label_smoothing must be at least 0 and below 1, got"):
        SimilarityCLIPLoss(label_smoothing=share)


def test_not_with_clamps() -> None:
    with pytest.raises(ValueError, match="label_smoothing does not go with clamp_eps"):
        SimilarityCLIPLoss(label_smoothing=0.1, clamp_eps=1e-3)
