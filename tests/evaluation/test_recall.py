import pytest
import torch

from selip_core.evaluation import expected_recall, recall_hits, same_group

SCORES = torch.tensor(
    [
        [0.9, 0.8, 0.1, 0.0],  # right answers 1, 3: rank of the better one is 2
        [0.4, 0.3, 0.2, 0.1],  # right answer 3: rank 4
        [0.1, 0.9, 0.2, 0.3],  # right answer 1: rank 1
    ]
)
RELEVANT = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 1], [0, 1, 0, 0]], dtype=torch.bool)


@pytest.mark.parametrize(
    ("k", "hits"), [(1, [0, 0, 1]), (2, [1, 0, 1]), (3, [1, 0, 1]), (4, [1] * 3)]
)
def test_any_of_several_right_answers_counts(k, hits):
    assert recall_hits(SCORES, RELEVANT, k).tolist() == hits


def test_k_beyond_the_gallery_finds_everything():
    assert recall_hits(SCORES, RELEVANT, 10).tolist() == [1, 1, 1]


def test_equal_scores_count_against_the_query():
    scores = torch.zeros(1, 4)
    relevant = torch.tensor([[True, False, False, False]])
    assert [recall_hits(scores, relevant, k).item() for k in (1, 3, 4)] == [0, 0, 1]


def test_equal_labels_are_right_answers():
    assert same_group("abca", "ba").int().tolist() == [[0, 1], [1, 0], [0, 0], [0, 1]]


def test_chance_is_what_random_rankings_reach():
    generator = torch.Generator().manual_seed(0)
    relevant = RELEVANT[:2]
    drawn = [torch.rand(2, 4, generator=generator) for _ in range(4000)]
    for k, by_hand in ((1, [0.5, 0.25]), (2, [1 - 1 / 6, 0.5]), (4, [1.0, 1.0])):
        expected = expected_recall(relevant, k)
        assert expected.tolist() == pytest.approx(by_hand)
        mean = torch.stack([recall_hits(scores, relevant, k) for scores in drawn]).mean(dim=0)
        torch.testing.assert_close(mean, expected, atol=0.03, rtol=0)


def test_chance_beyond_the_gallery_is_certain():
    assert expected_recall(RELEVANT, 10).tolist() == [1.0, 1.0, 1.0]


def test_bad_input_is_told():
    with pytest.raises(
        ValueError, match=r"one shape \(queries, gallery\), got \(3, 4\) and \(4, 3\)"
    ):
        recall_hits(SCORES, RELEVANT.T, 1)
    with pytest.raises(ValueError, match="must not be NaN, got 1 NaN"):
        recall_hits(torch.tensor([[torch.nan]]), torch.tensor([[True]]), 1)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        recall_hits(SCORES, RELEVANT, 0)
    with pytest.raises(ValueError, match="every query needs a right answer in the gallery, 1 have"):
        recall_hits(SCORES[:1], RELEVANT[:1] & False, 1)
