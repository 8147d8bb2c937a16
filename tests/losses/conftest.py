from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from selip_core.losses import chunked
from selip_core.testing import random_features, random_similarities, value_and_gradients

Batch = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and tiles of three rows, so that small batches take many and the last is ragged."""
    monkeypatch.setattr(chunked, "WORKSPACE_BYTES", {"cpu": 0})
    monkeypatch.setattr(chunked, "FEWEST_ROWS", 3)


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """Make unit-norm image and text features and a scale, all leaves that take gradients."""

    def make(rows: int, width: int = 8, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
        images, texts = (x.to(dtype) for x in random_features(rows, rows, width, seed=seed))
        scale = torch.tensor(7.0, dtype=dtype)
        return images.requires_grad_(), texts.requires_grad_(), scale.requires_grad_()

    return make


@pytest.fixture
def similarities() -> Callable[..., Tensor]:
    """Make a table of similarities in [0, 1] with ones on the diagonal."""

    return random_similarities


@pytest.fixture
def results() -> Callable[..., list[Tensor]]:
    """Call a loss on fresh leaves and return its value and its three gradients."""

    def call(loss_fn: Callable[..., Tensor], features: Batch, **options: Any) -> list[Tensor]:
        return list(value_and_gradients(loss_fn, *features, **options))

    return call


@pytest.fixture(scope="session")
def authors_total() -> Callable[..., Tensor]:
    """Give the authors' total in all their configurations, from the formulas in ``tests/data``."""
    return _authors_total


def _authors_total(
    images: Tensor, texts: Tensor, scale: Tensor, similarities: Tensor, config: dict[str, Any]
) -> Tensor:
    logits = scale * images @ texts.T
    own_pairs = torch.arange(len(images))
    align = (cross_entropy(logits, own_pairs) + cross_entropy(logits.T, own_pairs)) / 2
    divergence = sum(_one_way(table, similarities, config) for table in (logits, logits.T)) / 2
    weights = config["loss_alpha"]
    return weights["align"] * align + weights["NegKL"] * divergence


def _one_way(logits: Tensor, similarities: Tensor, config: dict[str, Any]) -> Tensor:
    eps = config["eps"]
    if not config["include_positive"]:
        logits, similarities = _off_diagonal(logits), _off_diagonal(similarities)
    if config["sim_norm_mode"] == "linear":
        target = similarities / similarities.sum(1, keepdim=True).clamp(min=eps)
    else:
        target = similarities.softmax(1)
    target, prediction = target.clamp(eps, 1), logits.softmax(1).clamp(eps, 1)
    forward = (target * (target.log() - prediction.log())).sum(1).mean()
    if config["KL_way"] == 1:
        return forward
    return forward / 2 + (prediction * (prediction.log() - target.log())).sum(1).mean() / 2


def _off_diagonal(table: Tensor) -> Tensor:
    return table[~torch.eye(len(table), dtype=torch.bool)].view(len(table), -1)
