"""Statistics of a batch against what they are by definition."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selip_core.losses import (
    DirectionStatistics,
    LossAndStatistics,
    LossStatistics,
    SimilarityCLIPLoss,
    chunked,
    similarity_clip_loss,
    summaries,
)
from selip_core.losses.chunked import logits_of
from selip_core.losses.softmax_summary import SoftmaxSummary
from selip_core.similarity.operators import Dense, LowRank, base

pytestmark = pytest.mark.usefixtures("small_blocks")


def entropy(table: Tensor) -> Tensor:
    return -torch.xlogy(table, table).sum(1)


def one_way(logits: Tensor, target: Tensor, smoothing: float) -> dict[str, Tensor]:
    """Each number by its definition, from whole tables."""
    rows, own_pairs = len(logits), torch.arange(len(logits))
    prediction = logits.softmax(1)
    wanted = (1 - smoothing) * target / target.sum(1, keepdim=True) + smoothing / rows
    similarity = cross_entropy(logits, wanted)
    return {
        "align": cross_entropy(logits, own_pairs, label_smoothing=smoothing),
        "prediction_entropy": entropy(prediction).mean(),
        "accuracy": (logits.argmax(1) == own_pairs).double().mean(),
        "saturated": (prediction.diagonal() > 0.99).double().mean(),
        "similarity": similarity,
        "target_entropy": entropy(wanted).mean(),
        "effective_positives": entropy(wanted).exp().mean(),
        "kl": (wanted * (wanted.log() - logits.log_softmax(1))).sum(1).mean(),
    }


@pytest.mark.parametrize("backend", ["chunked", "dense"])
@pytest.mark.parametrize("rows", [1, 2, 7, 33])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_are_their_definitions(
    backend: str,
    rows: int,
    smoothing: float,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
) -> None:
    (images, texts, _), table = batch(rows), similarities(rows)
    scale, bias = torch.tensor(30.0, dtype=torch.float64), torch.tensor(-10.0)
    options = {"target": table, "label_smoothing": smoothing, "backend": backend}
    weights = {"align_weight": 0.7, "similarity_weight": 1.6}
    loss, statistics = similarity_clip_loss(
        images, texts, scale, logit_bias=bias, return_stats=True, **options, **weights
    )
    torch.testing.assert_close(
        loss, similarity_clip_loss(images, texts, scale, **options, **weights)
    )
    logits = (scale * images @ texts.T).detach() + bias
    directions = {
        "image_to_text": one_way(logits, table, smoothing),
        "text_to_image": one_way(logits.T, table.T, smoothing),
    }
    expected = {f"{way}/{name}": x for way in directions for name, x in directions[way].items()}
    expected |= {"logit_scale": scale, "logit_bias": bias, "pairs": torch.tensor(rows)}
    actual = statistics.as_dict()
    torch.testing.assert_close(actual, {name: expected[name] for name in actual})
    assert set(actual) == set(expected)
    assert not any(value.requires_grad for value in actual.values())
    ways = statistics.image_to_text, statistics.text_to_image
    whole = sum(0.7 * way.align + 1.6 * way.similarity for way in ways) / 2
    torch.testing.assert_close(whole, loss.detach())


def test_without_a_target(batch: Callable[..., Any]) -> None:
    loss, statistics = similarity_clip_loss(*batch(7), return_stats=True)
    ways = statistics.image_to_text, statistics.text_to_image
    torch.testing.assert_close(loss.detach(), (ways[0].align + ways[1].align) / 2)
    for way in ways:
        assert way.similarity is way.target_entropy is way.effective_positives is way.kl is None
    assert "image_to_text/kl" not in statistics.as_dict()
    assert statistics.logit_bias == 0


def test_ties_share_a_hit() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    statistics = similarity_clip_loss(features, features, 50.0, return_stats=True).statistics
    # Three reports that cannot be told apart, and one that can.
    for way in (statistics.image_to_text, statistics.text_to_image):
        torch.testing.assert_close(way.accuracy.item(), 0.5)
        torch.testing.assert_close(way.saturated.item(), 0.25)
        torch.testing.assert_close(way.prediction_entropy.item(), 0.75 * math.log(3))


def test_collapsed_features_tell_nothing_apart() -> None:
    features = torch.ones(8, 2)
    way = similarity_clip_loss(features, features, 9.0, return_stats=True).statistics.image_to_text
    torch.testing.assert_close(way.accuracy.item(), 1 / 8)
    torch.testing.assert_close(way.prediction_entropy.item(), math.log(8))


def test_of_masked_batches(batch: Callable[..., Any], similarities: Callable[..., Any]) -> None:
    images, texts, scale = batch(7)
    table, kept = similarities(7), torch.tensor([0, 2, 3, 6])
    mask = torch.zeros(7, dtype=torch.bool).index_fill(0, kept, True)
    whole = similarity_clip_loss(images, texts, scale, target=table, mask=mask, return_stats=True)
    part = similarity_clip_loss(
        images[kept], texts[kept], scale, target=table[kept][:, kept], return_stats=True
    )
    torch.testing.assert_close(whole.statistics.as_dict(), part.statistics.as_dict())
    assert whole.statistics.pairs == 4


@pytest.mark.parametrize("members", [{"entropy"}, {"tile"}, set()])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_targets_that_can_less(
    members: set[str], smoothing: float, batch: Callable[..., Any], similarities: Callable[..., Any]
) -> None:
    table = Dense(similarities(5))

    class Lesser:
        shape, dtype, device = table.shape, table.dtype, table.device
        matmul, rmatmul, dense = table.matmul, table.rmatmul, table.dense
        row_sums, column_sums = table.row_sums, table.column_sums

        def to(self, device: torch.device, dtype: torch.dtype) -> "Lesser":
            return self

    for name in members:
        setattr(Lesser, name, staticmethod(getattr(table, name)))
    options = {"label_smoothing": smoothing, "return_stats": True}
    statistics = similarity_clip_loss(*batch(5), target=Lesser(), **options).statistics
    whole = similarity_clip_loss(*batch(5), target=table, **options).statistics
    way, expected = statistics.text_to_image, whole.text_to_image
    torch.testing.assert_close(way.similarity, expected.similarity)
    if "tile" in members or (members and not smoothing):
        torch.testing.assert_close(way.kl, expected.kl)
    else:
        assert way.kl is way.target_entropy is way.effective_positives is None


class LargestTensor(TorchDispatchMode):
    """Remembers the elements of the largest tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_make_blocks_only(
    smoothing: float, batch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, width = 96, 8
    monkeypatch.setattr(base, "_TILE_VALUES", rows * width)
    factor = torch.rand(rows, 2, dtype=torch.float64)
    target = LowRank(factor, factor)
    with LargestTensor() as largest:
        statistics = similarity_clip_loss(
            *batch(rows, width),
            target=target,
            backend="chunked",
            label_smoothing=smoothing,
            return_stats=True,
        ).statistics
    assert statistics.image_to_text.kl is not None
    assert rows * width <= largest.elements <= 2 * rows * width


def test_summaries_of_parts_add_up() -> None:
    logits = torch.randn(9, 5, dtype=torch.float64) * 100
    logits[3] = logits[7] = logits.amax(0)
    whole = SoftmaxSummary.of(logits, 0)
    parts = SoftmaxSummary.of_nothing(5, logits)
    for part in logits.split(2):
        parts += SoftmaxSummary.of(part, 0)
    torch.testing.assert_close(vars(parts), vars(whole))
    assert (whole.ties >= 2).all()
    assert torch.equal(whole.logsumexp, logits.logsumexp(0))
    torch.testing.assert_close(whole.entropy, entropy(logits.T.softmax(1)))


def counted_sweeps(monkeypatch: pytest.MonkeyPatch, loss_fn: Callable[[], Any]) -> int:
    """Return how often the logits are computed, in units of all pairs."""
    pairs = 0

    def counting(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        nonlocal pairs
        pairs += len(images) * len(texts)
        return logits_of(images, texts, scale)

    for module in (chunked, summaries):
        monkeypatch.setattr(module, "logits_of", counting)
    loss_fn()
    return pairs // 33**2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_come_from_the_sweep_of_the_loss(
    dtype: torch.dtype, batch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = batch(33, dtype=dtype)
    options = {"backend": "chunked", "target": LowRank(*torch.rand(2, 33, 3, dtype=torch.float64))}
    alone = similarity_clip_loss(*leaves, **options)
    watched = similarity_clip_loss(*leaves, return_stats=True, **options).loss
    pairs = [torch.autograd.grad(loss, leaves) for loss in (alone, watched)]
    assert torch.equal(alone, watched)
    assert all(torch.equal(*pair) for pair in zip(*pairs, strict=True))
    assert counted_sweeps(monkeypatch, lambda: similarity_clip_loss(*leaves, **options)) == 1
    watching = {**options, "return_stats": True}
    assert counted_sweeps(monkeypatch, lambda: similarity_clip_loss(*leaves, **watching)) == 1


def test_large_logits_stay_finite() -> None:
    features = torch.eye(3)
    statistics = similarity_clip_loss(features, features, 1e4, return_stats=True).statistics
    assert all(value.isfinite() for value in statistics.as_dict().values())
    assert statistics.image_to_text.saturated == statistics.image_to_text.accuracy == 1


def test_low_precision(batch: Callable[..., Any]) -> None:
    images, texts, _ = batch(9, dtype=torch.bfloat16)
    loss, statistics = similarity_clip_loss(images, texts, 10.0, return_stats=True)
    assert statistics.image_to_text.align.dtype == torch.float32
    ways = statistics.image_to_text, statistics.text_to_image
    torch.testing.assert_close(loss.detach(), (ways[0].align + ways[1].align) / 2)


def test_of_the_module(batch: Callable[..., Any]) -> None:
    factor = torch.rand(5, 2, dtype=torch.float64)
    options = {"target": LowRank(factor, factor), "return_stats": True}
    result = SimilarityCLIPLoss()(*batch(5), **options)
    assert isinstance(result, LossAndStatistics)
    named = SimilarityCLIPLoss()(*batch(5), output_dict=True, **options)
    assert list(named) == ["contrastive_loss", "statistics"]
    assert isinstance(named["statistics"], LossStatistics)
    torch.testing.assert_close(named["statistics"].as_dict(), result.statistics.as_dict())
    result.loss.backward()


def test_are_frozen() -> None:
    zero = torch.tensor(0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        DirectionStatistics(zero, zero, zero, zero).align = zero


def test_not_of_the_clamped_total() -> None:
    with pytest.raises(ValueError, match="return_stats describes distributions"):
        similarity_clip_loss(torch.eye(2), torch.eye(2), 1.0, clamp_eps=1e-3, return_stats=True)
