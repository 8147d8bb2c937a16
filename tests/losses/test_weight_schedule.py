import re

import pytest

from selip_core.losses import scheduled_weight


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [2.0, 2.0, 2.0, 2.0]),
        ("falling", [2.0, 1.5, 1.0, 0.5]),
        ("rising", [0.5, 1.0, 1.5, 2.0]),
    ],
)
def test_weights_of_four_steps(schedule, expected):
    assert [scheduled_weight(2.0, step, 4, schedule) for step in range(4)] == expected


@pytest.mark.parametrize(
    ("step", "schedule", "message"),
    [
        (4, "falling", "step must be from 0 to steps - 1, got step 4 of 4"),
        (-1, "falling", "step must be from 0 to steps - 1, got step -1 of 4"),
        (0, "cosine", "schedule must be one of ('constant', 'falling', 'rising'), got 'cosine'"),
    ],
)
def test_refuses(step, schedule, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        scheduled_weight(1.0, step, 4, schedule)
