from collections import Counter

import pytest

from selip_core.simulation.parameters import Parameters
from selip_core.simulation.patients import schedule_visits


def test_a_patient_is_in_one_split_and_some_come_twice():
    visits = schedule_visits(Parameters(), 300)
    splits = {(visit.patient, visit.split) for visit in visits}
    times = Counter(visit.patient for visit in visits)
    assert len(splits) == len(times)
    assert set(times.values()) == {1, 2}
    assert len({visit.study for visit in visits}) == 300


@pytest.mark.parametrize("seed", range(5))
def test_splits_have_their_shares(seed):
    counts = Counter(visit.split for visit in schedule_visits(Parameters(seed=seed), 200))
    assert counts["train"] / 200 == pytest.approx(0.7, abs=0.05)
    assert counts["validation"] / 200 == pytest.approx(0.15, abs=0.04)
    assert counts["test"] / 200 == pytest.approx(0.15, abs=0.04)


def test_a_longer_schedule_begins_with_the_shorter():
    assert schedule_visits(Parameters(), 50)[:20] == schedule_visits(Parameters(), 20)


def test_a_split_of_no_share_stays_empty():
    visits = schedule_visits(Parameters(split=(0.5, 0.0, 0.5)), 100)
    assert {visit.split for visit in visits} == {"train", "test"}
