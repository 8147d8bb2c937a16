"""Options that encoders share."""

import pytest

from selip_core.encoders.options import along_axes, at_width, require_counts


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", None, True])
def test_counts_are_whole_and_positive(value):
    require_counts(heads=1, layers=12)
    with pytest.raises(ValueError, match="layers must be a whole number of at least 1, got "):
        require_counts(heads=1, layers=value)


def test_one_number_stands_for_three():
    assert along_axes("window", 7) == (7, 7, 7)
    assert along_axes("window", [1, 2, 3]) == (1, 2, 3)


@pytest.mark.parametrize("value", [0, 1.5, (1, 2), (1, 2, 3, 4), (1, 0, 1), (1.0, 1, 1), "123"])
def test_other_than_one_or_three_counts_is_refused(value):
    with pytest.raises(ValueError, match=r"window must be .*, or three of them along \(depth, "):
        along_axes("window", value)


@pytest.mark.parametrize("width", [0, -1.0, 0.01, float("nan"), float("inf"), "a"])
def test_a_width_leaves_a_channel(width):
    assert at_width(64, 1 / 64) == 1
    with pytest.raises(ValueError, match=r"at least one of 64 channels \(1/64 or more\), got "):
        at_width(64, width)
