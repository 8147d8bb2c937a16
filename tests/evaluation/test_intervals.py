import pytest
import torch

from selip_core.evaluation import (
    area_under_curve,
    area_under_curve_interval,
    mean_interval,
    patient_multiplicities,
)


def test_interval_of_independent_queries_is_that_of_a_proportion():
    values = torch.tensor([1.0] * 50 + [0.0] * 50)
    low, high = mean_interval(values, torch.eye(100), resamples=2000)
    # Normal approximation: 0.5 +- 1.96 * 0.05.
    assert low == pytest.approx(0.402, abs=0.02)
    assert high == pytest.approx(0.598, abs=0.02)


def test_volumes_of_one_patient_move_together():
    values = torch.tensor([1.0, 0.0]).repeat_interleave(50)
    two_patients = torch.eye(2).repeat_interleave(50, dim=0)
    assert mean_interval(values, two_patients) == (0.0, 1.0)


def test_a_query_of_two_patients_counts_their_average():
    # Resamples of two patients: (2, 0), (0, 2) or (1, 1). The shared query always weighs 1.
    membership = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    low, high = mean_interval(torch.tensor([1.0, 0.0]), membership)
    assert (low, high) == (0.0, pytest.approx(2 / 3))


def test_resampling_is_fixed_by_its_seed():
    torch.testing.assert_close(patient_multiplicities(9, seed=3), patient_multiplicities(9, seed=3))
    assert not torch.equal(patient_multiplicities(9, seed=3), patient_multiplicities(9, seed=4))


def test_nothing_to_resample_is_refused():
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 1000"):
        patient_multiplicities(0)


def test_area_under_curve_counts_ties_half():
    positive, negative = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 0.0])
    assert area_under_curve(positive, negative) == (1 + 1 + 0.5 + 1) / 4


def test_area_under_curve_interval_contains_the_figure():
    generator = torch.Generator().manual_seed(0)
    positive = torch.randn(40, generator=generator) + 1
    negative = torch.randn(60, generator=generator)
    patients = torch.eye(100)
    low, high = area_under_curve_interval(positive, negative, patients[:40], patients[40:])
    assert low < area_under_curve(positive, negative) < high
    assert 0.1 < high - low < 0.3


def test_area_under_curve_of_nothing_is_refused():
    with pytest.raises(ValueError, match="both groups need a member, got 0 positive and 1"):
        area_under_curve(torch.tensor([]), torch.tensor([1.0]))
