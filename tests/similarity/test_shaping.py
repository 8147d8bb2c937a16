"""Power, threshold, top-k and the floor of the own report."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selip_core.findings import Finding, Report
from selip_core.similarity import SyntaxSimilarity, exact
from selip_core.similarity.shaping import Shaping
from selip_core.similarity.sparsify import sparsify

KERNEL = 0.5 * exact("site") + 0.3 * exact("signal") + 0.2 * exact("laterality")


class Table:
    nbytes = 0

    def __init__(self, values):
        self.values = values

    def block(self, rows, columns, dtype):
        return self.values[rows[:, None], columns[None, :]].to(dtype)


def kept_by_definition(values, k):
    """Among the k largest of the row or of the column, or on the diagonal; ties together."""
    kept = torch.zeros_like(values)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            larger_in_row = int((values[i] > values[i, j]).sum())
            larger_in_column = int((values[:, j] > values[i, j]).sum())
            if min(larger_in_row, larger_in_column) < k or i == j:
                kept[i, j] = values[i, j]
    return kept


@given(
    levels=st.lists(st.integers(0, 5), min_size=48, max_size=48),
    rows=st.integers(1, 8),
    columns=st.integers(1, 6),
    k=st.integers(1, 9),
)
def test_top_k_keeps_the_largest_of_rows_and_columns(monkeypatch_tiles, levels, rows, columns, k):
    values = torch.tensor(levels).view(8, 6)[:rows, :columns] / 5
    every = torch.arange(rows), torch.arange(columns)
    sparse = sparsify(Table(values), *every, torch.float32, k)
    torch.testing.assert_close(sparse.dense(), kept_by_definition(values, k))
    assert bool((sparse.values > 0).all())


@pytest.fixture(scope="module")
def monkeypatch_tiles():
    """Tiles of few values, so that a small table already takes several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selip_core.similarity.operators.base._TILE_VALUES", 12)
        yield


def report(id, site, signal="high", side="left", **more):
    return Report(id=id, findings=[Finding(site=site, signal=signal, laterality=side)], **more)


REPORTS = [
    report("pons", "pons"),
    report("pons right", "pons", side="right"),
    report("pons low", "pons", "low"),
    report("insula low right", "insula", "low", "right"),
    report("pons again", "pons"),
    Report(id="normal", normal=True),
]


def similarity(**settings):
    return SyntaxSimilarity(KERNEL, gamma=1.0, **settings).fit(REPORTS).batch(dtype=torch.float64)


def test_unshaped_by_hand():
    row = similarity().dense()[0]
    torch.testing.assert_close(row, torch.tensor([1, 0.8, 0.7, 0, 1, 0]).double())


def test_small_similarities_become_nothing():
    row = similarity(min_similarity=0.75).dense()[0]
    torch.testing.assert_close(row, torch.tensor([1, 0.8, 0, 0, 1, 0]).double())


@pytest.mark.parametrize("aggregation", ["best", "mean"])
def test_rounding_cuts_no_own_pair(aggregation):
    sizes = range(1, 15)
    reports = [
        Report(id=f"{size}", findings=[Finding(site=str(place)) for place in range(size)])
        for size in sizes
    ]
    for size in sizes:
        # Just what the aggregation gives a report of this size with itself.
        least = 1.0 if aggregation == "best" else 1 / size
        settings = {"aggregation": aggregation, "min_similarity": least}
        table = SyntaxSimilarity(exact("site"), gamma=1.0, **settings).fit(reports).batch().dense()
        torch.testing.assert_close(table.diag(), torch.ones(len(sizes)))


def test_top_k_counts_distinct_reports_and_keeps_the_own():
    table = similarity(top_k=2).dense()
    # "pons" and "pons again" are one report: it and "pons right" are the two largest of the row,
    # and 0.7 is the second largest of the column of "pons low".
    torch.testing.assert_close(table[0], torch.tensor([1, 0.8, 0.7, 0, 1, 0]).double())
    torch.testing.assert_close(table[1], torch.tensor([0.8, 1, 0, 0, 0.8, 0]).double())
    torch.testing.assert_close(table, table.T)
    alone = similarity(top_k=1).dense()
    assert bool((alone.diag() == 1).all())
    assert alone[0, 4] == 1
    assert alone.sum() == 8


def test_a_top_k_beyond_the_batch_keeps_all_and_takes_no_memory():
    assert torch.equal(similarity(top_k=10**15).dense(), similarity().dense())


@pytest.mark.parametrize("settings", [{"top_k": 2}, {"min_similarity": 0.5, "own_floor": 0.5}])
def test_a_batch_may_be_empty(settings):
    fitted = SyntaxSimilarity(KERNEL, gamma=1.0, **settings).fit(REPORTS)
    assert fitted.batch([], ["pons", "normal"]).column_sums().tolist() == [0, 0]
    assert fitted.batch(["pons"], []).row_sums().tolist() == [0]
    assert fitted.batch([]).dense().shape == (0, 0)


@pytest.mark.parametrize("floor", [0.3, 0.7, 0.95])
def test_the_same_reports_have_their_floor_of_rows_and_columns(floor):
    table = similarity(own_floor=floor).dense()
    plain = similarity().dense()
    torch.testing.assert_close(table, table.T)
    same = plain == 1
    share = (table * same).sum(1) / table.sum(1)
    assert bool((share >= floor - 1e-9).all())
    assert bool((table <= plain + 1e-12).all())
    assert bool((table[same] == 1).all())
    # What is close enough already is left alone, and what is not keeps its order.
    bound = (plain * same).sum(1) / plain.sum(1) < floor
    assert share[bound].min() == pytest.approx(floor, abs=0.05) if bool(bound.any()) else True
    assert torch.equal(table[0].argsort(stable=True), plain[0].argsort(stable=True))


def test_a_floor_that_all_have_changes_nothing():
    torch.testing.assert_close(similarity(own_floor=0.1).dense(), similarity().dense())


def test_a_batch_without_the_same_report_has_no_floor():
    fitted = SyntaxSimilarity(KERNEL, gamma=1.0, own_floor=0.5).fit(REPORTS)
    table = fitted.batch(["pons"], ["pons right", "pons low"]).dense()
    torch.testing.assert_close(table, torch.tensor([[0.8, 0.7]]))


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"min_similarity must be in \[0, 1\], got 1.5"):
        Shaping(min_similarity=1.5)
    for top_k in (0, 2.5):
        with pytest.raises(ValueError, match=f"top_k must be a whole number .* got {top_k}"):
            SyntaxSimilarity(top_k=top_k)
    with pytest.raises(ValueError, match="own_floor must be at least 0 and below 1, got 1"):
        SyntaxSimilarity(own_floor=1)
