import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selip_core.similarity import dice, exact, fuzzy

LEAVES = [
    exact("x"),
    dice("x"),
    fuzzy("x"),
    fuzzy("x", "partial_ratio"),
    fuzzy("x", "token_set_ratio"),
]


def table(leaf, values):
    codes = torch.arange(len(values))
    return leaf.compare(leaf.read(values), codes[:, None], codes[None, :])


@pytest.mark.parametrize("leaf", LEAVES, ids=str)
@given(values=st.lists(st.text(max_size=12), min_size=1, max_size=6, unique=True))
def test_symmetric_in_the_unit_interval_and_one_for_equal_values(leaf, values):
    similarity = table(leaf, values)
    torch.testing.assert_close(similarity, similarity.T)
    torch.testing.assert_close(similarity.diag(), torch.ones(len(values), dtype=torch.float64))
    assert bool((similarity >= 0).all())
    assert bool((similarity <= 1).all())


@pytest.mark.parametrize("leaf", LEAVES, ids=str)
def test_missing_agrees_with_missing_only(leaf):
    codes = torch.tensor([-1, 0])
    similarity = leaf.compare(leaf.read(["frontal"]), codes[:, None], codes[None, :])
    torch.testing.assert_close(similarity, torch.eye(2, dtype=torch.float64))
    missing = torch.tensor([-1])
    assert leaf.compare(leaf.read([]), missing, missing).item() == 1


def test_dice_by_hand():
    # {a, b, c} and {b, c, d, e}: 2 * 2 / (3 + 4)
    assert table(dice("x"), ["aabc", "bcde"])[0, 1].item() == pytest.approx(4 / 7, abs=1e-15)


def test_fuzzy_is_the_scorer_of_rapidfuzz():
    from rapidfuzz import fuzz

    values = ["left frontal lobe", "frontal lobe, left", "pons"]
    similarity = table(fuzzy("x", "token_sort_ratio"), values)
    expected = fuzz.token_sort_ratio(values[0], values[1]) / 100
    assert similarity[0, 1].item() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match=r"one of \['QRatio'.*'JaroWinkler'.*got 'nonsense'"):
        fuzzy("x", "nonsense")


def test_algebra_combines_values_and_largest():
    kernel = (0.25 * exact("a") + exact("b") * 0.5) ** 2 * exact("a")
    values = {exact("a"): torch.tensor([1.0, 0.5]), exact("b"): torch.tensor([0.0, 1.0])}
    combined = kernel.combine(values.__getitem__)
    torch.testing.assert_close(combined, torch.tensor([0.0625, (0.125 + 0.5) ** 2 * 0.5]))
    assert kernel.largest == 0.75**2
    assert kernel.leaves == (exact("a"), exact("b"))


def test_only_kernels_add_up():
    with pytest.raises(TypeError, match="unsupported operand"):
        exact("a") + 0.3


def test_sum_of_several_is_their_sum():
    parts = [0.2 * exact("x"), 0.3 * dice("x"), 0.5 * fuzzy("x")]
    assert sum(parts) == parts[0] + parts[1] + parts[2]
    with pytest.raises(TypeError, match="unsupported operand"):
        1 + exact("x")


@pytest.mark.parametrize("other", ["0.5", None, [1], torch.ones(2)], ids=repr)
def test_weights_and_powers_are_numbers(other):
    name = type(other).__name__
    with pytest.raises(ValueError, match=f"by a kernel, or by a weight that is a number, .*{name}"):
        exact("x") * other
    with pytest.raises(ValueError, match=f"to a power that is a number, got {name}"):
        exact("x") ** other


def test_weights_and_powers_are_checked():
    with pytest.raises(ValueError, match="not negative, got -1"):
        -1.0 * exact("a")
    with pytest.raises(ValueError, match="positive, got 0"):
        exact("a") ** 0
