import math

import pytest


@pytest.fixture
def statistics(_benchmarks_are_importable):
    import evidence_statistics

    return evidence_statistics


def test_interval_of_three_differences(statistics):
    # Mean 2, standard deviation 1, t(0.975, 2) = 4.302653, standard error 1 / sqrt(3).
    found = statistics.paired_t([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert found["mean"] == 2
    assert found["low"] == pytest.approx(2 - half, abs=1e-5)
    assert found["high"] == pytest.approx(2 + half, abs=1e-5)
    # With 2 degrees of freedom p = 1 - t / sqrt(2 + t^2), t = 2 sqrt(3).
    assert found["p"] == pytest.approx(1 - 2 * math.sqrt(3) / math.sqrt(14), abs=1e-6)
    assert found["effect"] == 2


def test_one_difference_has_no_interval(statistics):
    assert statistics.paired_t([1.0]) is None


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_equal_differences(statistics, value, p):
    found = statistics.paired_t([value] * 3)
    assert (found["low"], found["high"], found["p"]) == (value, value, p)


def test_holm_by_hand(statistics):
    # Sorted: 0.01 x 4, 0.02 x 3, 0.022 x 2 (which may not fall below 0.06), 0.5 x 1.
    found = statistics.holm({"d": 0.5, "b": 0.02, "a": 0.01, "c": 0.022})
    assert found == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.5})


def test_holm_stops_at_one(statistics):
    assert statistics.holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
