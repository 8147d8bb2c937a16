"""Leaks between splits: patients, studies, reports, texts."""

import json
import unicodedata
from pathlib import Path

import pytest

from selip_core.data import Manifest, ManifestRow, check_manifest
from selip_core.data.check_splits import check_splits, written_alike
from selip_core.findings import Finding, Report


def manifest_of(rows, reports=None):
    rows = tuple(ManifestRow(**row) for row in rows)
    if reports is None:
        reports = [Report(id=id, findings=[Finding(site=id)]) for id in {r.report for r in rows}]
    lines = tuple(range(1, len(rows) + 1))
    return Manifest(Path("m.jsonl"), rows, {report.id: report for report in reports}, lines)


def found(rows, reports=None):
    """Return (severity, check, line and field) of every issue of rows and reports."""
    issues = check_splits(manifest_of(rows, reports))
    return [
        (issue.severity, issue.check, issue.where.removeprefix("m.jsonl:").replace("$.", ""))
        for issue in issues
    ]


def test_a_study_in_two_splits_is_an_error_of_each_later_row(row):
    rows = [
        row("a", study="s", patient="p"),
        row("b", study="s", patient="p", split="test"),
        row("c", study="s", patient="p", split="validation"),
        row("d", study="s", patient="p"),
    ]
    assert found(rows) == [
        ("error", "patient", "2 patient"),
        ("error", "patient", "3 patient"),
        ("error", "study", "2 study"),
        ("error", "study", "3 study"),
    ]


def test_a_study_of_two_patients_is_an_error(row):
    rows = [row("a", study="s"), row("b", study="s"), row("c", study="s", patient="patient-a")]
    assert found(rows) == [("error", "study", "2 patient")]


def test_the_split_of_a_study_without_patient_ids_at_hand(row):
    rows = [row("axial", study="5461"), row("coronal", study="5461", split="test")]
    assert found(rows) == [("error", "study", "2 study"), ("error", "study", "2 patient")]


@pytest.mark.parametrize(
    "other",
    ["p 17 ", "ｐ１７", "P17", "\ufeffp17", "p\u200b17", "p\u00a017", "p\u00ad17", "p017", "p\t17"],
)
@pytest.mark.parametrize("field", ["patient", "study", "report"])
def test_ids_that_are_written_in_two_ways_are_warnings(row, other, field):
    rows = [
        row("a", **{field: "p17"}),
        row("b"),
        row("c", **{field: other}, split="test"),
    ]
    assert found(rows) == [("warning", f"{field} id", f"3 {field}")]


@pytest.mark.parametrize("other", ["p18", "p170", "q17", "p1.7", "p10", "p1"])
def test_other_ids_are_others(row, other):
    assert found([row("a", patient="p17"), row("b", patient=other, split="test")]) == []


def test_each_way_of_writing_is_one_warning(row):
    rows = [
        row(str(n), patient="p1 " if n % 2 else "p1", split=s)
        for n, s in enumerate(["train", "test"] * 50)
    ]
    assert found(rows) == [("warning", "patient id", "2 patient")]


def test_dashes_and_composition_do_not_count():
    assert written_alike("a‐1") == written_alike("a-1") == written_alike("A–1")
    assert written_alike("é") == written_alike(unicodedata.normalize("NFD", "É"))
    assert written_alike("Straße") == written_alike("STRASSE")
    assert written_alike("a") != written_alike("b")


def shared(row, normal):
    reports = [Report(id="r", findings=[] if normal else [Finding(site="x")], normal=normal)]
    return [row("a", report="r"), row("b", report="r", split="test")], reports


def test_an_abnormal_report_in_two_splits_is_a_warning_of_its_row(row):
    assert found(*shared(row, False)) == [("warning", "shared report", "2 report")]


def test_normal_reports_in_two_splits_are_counted(row):
    assert found(*shared(row, True)) == [("warning", "shared report", "reports")]
    (issue,) = check_splits(manifest_of(*shared(row, True)))
    assert issue.message.startswith("1 normal report is in more than one split (lines 1 and 2 for")


def test_texts_in_two_splits_are_counted_and_abnormal_ones_apart(row):
    texts = {"a": "Normal.", "b": "normal. ", "c": "Ｏedema", "d": "oedema", "e": "x", "f": "x"}
    reports = [
        Report(
            id=id, text=text, normal=id in "ab", findings=[] if id in "ab" else [Finding(site=id)]
        )
        for id, text in texts.items()
    ]
    rows = [
        row(id, report=id, split="train" if id in "acef" else "test")  # e and f: one split
        for id in texts
    ]
    (issue,) = check_splits(manifest_of(rows, reports))
    assert issue.check == "shared text"
    assert issue.message.startswith(
        "2 texts are in more than one split under different report ids, 1 of them abnormal"
    )
    assert issue.value == "c, d"


def test_texts_in_another_language_count(row):
    reports = [Report(id=id, text_zh="左侧额叶", findings=[Finding(site=id)]) for id in "ab"]
    rows = [row("a", report="a"), row("b", report="b", split="test")]
    (issue,) = check_splits(manifest_of(rows, reports))
    assert issue.message.startswith("1 text is in more than one split")


def test_one_split_has_no_leak(row):
    assert found([row("a", patient="p"), row("b", patient="p "), row("c", report="report-a")]) == []


def test_no_value_in_table_or_json_unless_asked_for(write_set, row):
    rows = [
        row("a", patient="jane", study="jane's", report="jane r"),
        row("b", patient="Jane", study="jane's", report="jane r", split="test"),
    ]
    result = check_manifest(write_set(rows))
    assert {issue.check for issue in result.issues} == {"study", "patient id", "shared report"}
    assert (result.errors, result.warnings) == (2, 2)
    assert "jane" not in (result.table() + json.dumps(result.as_dict())).lower()
    assert "[jane's]" in result.table(show_values=True)
