import pytest
import torch

from selip_core.evaluation import (
    Measured,
    expected_nearest,
    nearest_hits,
    paired_difference,
    pool,
    truth_measures,
)

RIGHT = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)


def patients(count):
    return tuple((f"p{number}",) for number in range(count))


def test_nearest_counts_ties_and_missing_answers_against_the_query():
    assert nearest_hits(torch.tensor([[0.1, 0.2, 0.3]]).expand(3, 3), RIGHT).tolist() == [1, 0, 0]
    assert nearest_hits(torch.zeros(3, 3), RIGHT).tolist() == [0, 0, 0]
    assert nearest_hits(torch.tensor([[0.5, 0.1, 0.5]]), RIGHT[:1]).tolist() == [1]


def test_chance_of_the_nearest_is_what_random_scores_reach():
    generator = torch.Generator().manual_seed(0)
    drawn = [nearest_hits(torch.rand(3, 3, generator=generator), RIGHT) for _ in range(3000)]
    expected = expected_nearest(RIGHT)
    assert expected.tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    torch.testing.assert_close(torch.stack(drawn).mean(dim=0), expected, atol=0.03, rtol=0)


def test_queries_without_the_measure_are_left_out():
    values = torch.tensor([1.0, torch.nan, 0.0])
    figure = Measured(values, torch.tensor([0.2, 0.9, 0.4]), patients(3)).figure()
    assert (figure["value"], figure["chance"]) == (0.5, pytest.approx(0.3))
    assert Measured(values[1:2], values[1:2], patients(1)).figure() is None


def test_a_query_that_shows_no_lesion_has_no_kind():
    scores = torch.rand(3, 3)
    shows = torch.tensor([True, True, False])
    found = truth_measures(scores, torch.ones(3, 3), RIGHT, shows, patients(3))
    assert found["kind@1"].values.isnan().tolist() == [False, False, True]


def test_pooled_queries_keep_their_own_chance_and_patients():
    one = Measured(torch.tensor([1.0]), torch.tensor([0.5]), (("a",),))
    two = Measured(torch.tensor([0.0]), torch.tensor([0.1]), (("a", "b"),))
    pooled = pool([one, two])
    assert pooled.patients == (("a",), ("a", "b"))
    assert pooled.figure()["chance"] == pytest.approx(0.3)


def test_paired_interval_is_narrower_than_those_of_its_parts():
    hard = torch.tensor([0.0, 1.0]).repeat(40)
    better = hard.clone()
    better[::10] = 1.0
    gain = paired_difference(better, hard, patients(80))
    assert gain["value"] == pytest.approx(0.1)
    assert 0 < gain["low"] < 0.1 < gain["high"] < 0.2
    alone = Measured(hard, hard, patients(80)).figure()
    assert gain["high"] - gain["low"] < alone["high"] - alone["low"]


def test_nothing_in_common_has_no_difference():
    assert paired_difference(torch.tensor([torch.nan]), torch.ones(1), patients(1)) is None
