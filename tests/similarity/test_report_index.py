import pytest
import torch

from selip_core.findings import Report
from selip_core.similarity.report_index import ReportIndex


def index_of(*ids):
    return ReportIndex(ids, range(len(ids)))


def test_keeps_the_order_in_which_reports_came():
    index = ReportIndex()
    added = [index.add(Report(id=id), says) for id, says in [("b", 5), ("a", 6), ("b", 5)]]
    assert added == [True, True, False]
    index.check()
    assert (index.ids, index.says.tolist(), len(index)) == (["b", "a"], [5, 6], 2)
    assert index.positions(["a", "b", "a"], "rows").tolist() == [1, 0, 1]
    assert index.positions(None, "rows").tolist() == [0, 1]


def test_what_was_added_last_is_seen():
    index = index_of("a")
    before = index.says, index.fingerprint
    index.add(Report(id="b"), 9)
    assert index.says.tolist() == [0, 9]
    assert before[0].tolist() == [0]
    assert index.fingerprint == index_of("a", "b").fingerprint != before[1]


def test_fingerprint_tells_ids_and_their_order():
    fingerprints = {index_of(*ids).fingerprint for ids in ("ab", "ba", "a", "abc", ("ab",))}
    assert len(fingerprints) == 5
    assert 0 <= min(fingerprints) <= max(fingerprints) < 2**63
    assert index_of("\ud800").fingerprint != index_of("\ud801").fingerprint


def test_different_reports_with_one_id_are_told_by_position():
    index = ReportIndex()
    for id, says in [("a", 1), ("b", 2), ("a", 3), ("a", 1)]:
        index.add(Report(id=id), says)
    with pytest.raises(ValueError, match=r"reports at positions \[2\] \(1 in all\)") as caught:
        index.check()
    assert "'a'" not in str(caught.value)


def test_positions_are_those_of_the_reports_that_come():
    index = ReportIndex(["a", "b"], [1, 2])
    for id, says in [("c", 1), ("b", 3)]:
        index.add(Report(id=id), says)
    with pytest.raises(ValueError, match=r"reports at positions \[1\] \(1 in all\)"):
        index.check()


def test_needs_a_report():
    with pytest.raises(ValueError, match="at least one report"):
        ReportIndex().check()


def test_unknown_ids_are_named_by_their_places():
    ids = ["a", "accession 1", "b", "accession 2"]
    with pytest.raises(ValueError, match=r"2 of 4 are not, at places \[1, 3\]") as caught:
        index_of("a", "b").positions(ids, "columns")
    assert "accession" not in str(caught.value)
    with pytest.raises(ValueError, match=r"\(\['accession 1', 'accession 2'\]\)"):
        index_of("a", "b").positions(ids, "columns", show_ids=True)


def test_positions_are_taken_as_they_are():
    positions = torch.tensor([1, 1, 0])
    assert torch.equal(index_of("a", "b").positions(positions, "rows"), positions)
    assert index_of("a").positions(torch.tensor([], dtype=torch.int64), "rows").shape == (0,)
    assert index_of("a").positions([], "rows").dtype == torch.int64


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.tensor([0, 2]), "positions below 2, the number of fitted reports, got 0 to 2"),
        (torch.tensor([-1]), "got -1 to -1"),
        (torch.tensor([0.0]), "int64 vector of positions, got torch.float32"),
        (torch.tensor(0), r"got torch.int64 of shape \(\)"),
        ("ab", "a sequence of ids, got one string"),
    ],
)
def test_what_is_no_position_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        index_of("a", "b").positions(rows, "rows")
