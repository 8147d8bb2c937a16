"""Masked pairs take no part: the loss is that of the others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from selip_core.losses import SimilarityCLIPLoss, similarity_clip_loss
from selip_core.similarity.operators import Dense, LowRank

MASK = torch.tensor([True, False, True, True, False, True, True])
KEPT = MASK.nonzero()[:, 0]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("backend", ["chunked", "dense"])
@pytest.mark.parametrize("clamp_eps", [None, 1e-2])
@pytest.mark.parametrize("kind", ["none", "table", "operator"])
def test_is_the_loss_of_the_others(
    backend: str,
    clamp_eps: float | None,
    kind: str,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
) -> None:
    images, texts, scale = batch(7)
    table = similarities(7)
    target = {"none": None, "table": table, "operator": Dense(table)}[kind]
    kept = None if target is None else table[KEPT][:, KEPT]
    options = {"backend": backend, "clamp_eps": clamp_eps}
    loss, *gradients = results(
        similarity_clip_loss, (images, texts, scale), target=target, mask=MASK, **options
    )
    expected, *expected_gradients = results(
        similarity_clip_loss, (images[KEPT], texts[KEPT], scale), target=kept, **options
    )
    torch.testing.assert_close(loss, expected)
    for gradient, expected_gradient in zip(gradients[:2], expected_gradients[:2], strict=True):
        torch.testing.assert_close(gradient[KEPT], expected_gradient)
        assert (gradient[~MASK] == 0).all()
    torch.testing.assert_close(gradients[2], expected_gradients[2])


def test_what_stands_in_masked_rows_is_not_looked_at(batch: Callable[..., Any]) -> None:
    images, texts, scale = (leaf.detach() for leaf in batch(7))
    target = torch.ones(7, 7, dtype=torch.float64)
    # A report that is similar to none cannot be normalised, but this one is not there.
    target[1] = target[:, 1] = 0
    images[1], texts[4] = torch.nan, torch.inf
    images.requires_grad_()
    loss = similarity_clip_loss(images, texts, scale, target=target, mask=MASK, check_finite=True)
    loss.backward()
    assert loss.isfinite()
    assert images.grad.isfinite().all()
    with pytest.raises(ValueError, match="image_features must be finite"):
        similarity_clip_loss(images, texts, scale, mask=MASK.roll(1), check_finite=True)


def test_mask_of_all_is_none(batch: Callable[..., Any], similarities: Callable[..., Any]) -> None:
    options = {"target": similarities(7)}
    whole = similarity_clip_loss(*batch(7), **options)
    everywhere = torch.ones(7, dtype=torch.bool)
    masked = SimilarityCLIPLoss()(*batch(7), mask=everywhere, **options)
    torch.testing.assert_close(masked, whole, atol=0, rtol=0)


def test_factored_targets_stay_factored(batch: Callable[..., Any]) -> None:
    factor = torch.rand(7, 2, dtype=torch.float64)
    loss = similarity_clip_loss(*batch(7), target=LowRank(factor, factor), mask=MASK)
    table = similarity_clip_loss(*batch(7), target=factor @ factor.T, mask=MASK)
    torch.testing.assert_close(loss, table)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(6, dtype=torch.bool), r"shape \(7,\) and type torch.bool.* got shape \(6,\)"),
        (torch.ones(7), r"type torch.bool, .* got shape \(7,\) of torch.float32"),
        ([True] * 7, "mask must be a torch tensor of bool, got list"),
        (torch.zeros(7, dtype=torch.bool), "True for at least one pair, got False for all 7"),
    ],
)
def test_bad_masks(mask: Any, message: str, batch: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=message):
        similarity_clip_loss(*batch(7), mask=mask)


def test_target_without_select(batch: Callable[..., Any]) -> None:
    class Unselectable:
        shape, dtype, device = (7, 7), torch.float64, torch.device("cpu")
        matmul = rmatmul = row_sums = column_sums = dense = to = lambda self: None

    with pytest.raises(
        ValueError, match=r"mask needs a target with select\(rows, columns\), got U"
    ):
        similarity_clip_loss(*batch(7), target=Unselectable(), mask=MASK)
