"""The oracle is held to values worked out by hand, and the loss to the oracle."""

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from selip_core.losses import bidirectional_logsumexp, similarity_clip_loss
from selip_core.similarity.operators import LowRank
from selip_core.testing import (
    oracle,
    oracle_logsumexps,
    oracle_loss,
    random_features,
    random_similarities,
    textbook_loss,
    value_and_gradients,
)

MASK = torch.tensor([True, False, True, True, False, True, True])


def test_by_hand() -> None:
    # Logits [[2, 0], [0, 2]], targets [[2/3, 1/3], [1/3, 2/3]]: every row and column has the
    # log-sum-exp log(e^2 + 1); CLIP attracts by 2, the target by 4/3, smoothing by 1.
    each, target = torch.tensor(2.0).exp().add(1).log(), torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    given = (torch.eye(2), torch.eye(2), 2.0)
    expected = 3 * (each - 2) + 0.5 * (each - 4 / 3)
    weights = {"target": target, "align_weight": 3.0, "similarity_weight": 0.5}
    assert oracle_loss(*given, **weights).item() == pytest.approx(expected.item(), abs=1e-6)
    smoothed = oracle_loss(*given, label_smoothing=0.25)
    assert smoothed.item() == pytest.approx((each - 0.75 * 2 - 0.25).item(), abs=1e-6)


def test_rows_and_columns_are_normalised_each_by_their_own_sums() -> None:
    # All logits 1 apart from a bias of the first text: rows and columns differ.
    target = torch.tensor([[1.0, 3.0], [0.0, 1.0]])
    images, texts = torch.ones(2, 1), torch.tensor([[1.0], [0.0]])
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    by_row, by_column = target / torch.tensor([[4.0], [1.0]]), target / torch.tensor([1.0, 4.0])
    rows = (logits.logsumexp(1) - (by_row * logits).sum(1)).mean()
    columns = (logits.logsumexp(0) - (by_column * logits).sum(0)).mean()
    actual = oracle_loss(images, texts, 1.0, target=target, align_weight=0.0)
    assert actual.item() == pytest.approx((rows + columns).item() / 2, abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target": random_similarities(7)},
        {"target": LowRank(*[torch.rand(7, 2, dtype=torch.float64) + 0.1] * 2)},
        {"target": random_similarities(7), "mask": MASK, "label_smoothing": 0.2},
        {"mask": MASK, "align_weight": 0.3},
        {"target": random_similarities(7), "align_weight": 0.3, "similarity_weight": 1.7},
    ],
)
def test_is_the_loss(options: dict[str, Any]) -> None:
    given = (*random_features(7, 7, 5), torch.tensor(9.0, dtype=torch.float64))
    actual = value_and_gradients(similarity_clip_loss, *given, **options)
    torch.testing.assert_close(actual, oracle(*given, **options))


def test_bias_shifts_every_logit() -> None:
    images, texts = random_features(3, 5, 4)
    with_bias = oracle_logsumexps(images, texts, 9.0, logit_bias=-10.0)
    expected = tuple(x - 10 for x in oracle_logsumexps(images, texts, 9.0))
    torch.testing.assert_close(with_bias, expected)
    torch.testing.assert_close(
        expected, tuple(x - 10 for x in bidirectional_logsumexp(images, texts, 9.0))
    )
    square = random_features(3, 3, 4)
    torch.testing.assert_close(
        oracle_loss(*square, 9.0, logit_bias=-10.0), oracle_loss(*square, 9.0)
    )


def test_takes_the_numbers_as_they_come() -> None:
    images, texts = (x.bfloat16() for x in random_features(9, 9, 4))
    rounded = oracle(images, texts, 14.3)
    exact = oracle(images.double(), texts.double(), torch.tensor(14.3).double())
    torch.testing.assert_close(rounded, exact, atol=0, rtol=0)


def test_textbook_rounds_the_logits() -> None:
    images, texts = (x.bfloat16() for x in random_features(9, 9, 4))
    logits = 14 * (images @ texts.T).float()
    own = torch.arange(9)
    ways = [torch.nn.functional.cross_entropy(table, own) for table in (logits, logits.T)]
    torch.testing.assert_close(textbook_loss(images, texts, 14.0), sum(ways) / 2)


def test_values_and_gradients_are_of_fresh_leaves() -> None:
    images, texts = random_features(4, 4, 3)
    images.requires_grad_()
    result = value_and_gradients(oracle_loss, normalize(images), texts, 5.0)
    assert images.grad is None
    assert not any(value.requires_grad for value in result)
    assert (result.logit_scale.shape, result.logit_scale.dtype) == ((), torch.float64)
