import math

import pytest
import torch

from selip_core.evaluation import expected_ndcg, ndcg

RELEVANCE = torch.tensor([[0.0, 1.0, 0.5]])


def test_hand_worked_value():
    # Ranking 0, 1, 2 gains 0, 1, 0.5; the best gains 1, 0.5, 0.
    gain = 1 / math.log2(3) + 0.5 / 2
    best = 1 + 0.5 / math.log2(3)
    value = ndcg(torch.tensor([[3.0, 2.0, 1.0]]), RELEVANCE, 3)
    assert value.item() == pytest.approx(gain / best, abs=1e-12)


def test_best_ranking_reaches_one_and_k_may_exceed_the_gallery():
    assert ndcg(RELEVANCE, RELEVANCE, 10).item() == pytest.approx(1.0)


def test_equal_scores_put_the_least_relevant_first():
    value = ndcg(torch.zeros(1, 3), RELEVANCE, 3)
    assert value.item() == ndcg(torch.tensor([[3.0, 1.0, 2.0]]), RELEVANCE, 3).item()


def test_nothing_relevant_has_no_figure():
    assert ndcg(torch.rand(1, 3), torch.zeros(1, 3), 2).isnan().all()
    assert expected_ndcg(torch.zeros(1, 3), 2).isnan().all()


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_chance_is_the_mean_over_all_rankings(k):
    rankings = torch.tensor(
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]], dtype=torch.float32
    )
    mean = ndcg(rankings, RELEVANCE.expand(6, 3), k).mean()
    torch.testing.assert_close(expected_ndcg(RELEVANCE, k)[0], mean)


def test_negative_relevance_is_refused():
    with pytest.raises(ValueError, match="relevance must not be negative or NaN"):
        ndcg(torch.rand(1, 3), RELEVANCE - 1, 2)
