import json
import re

import pytest

from selip_core.data import KNOWN_SEQUENCES, ManifestRow, read_manifest, write_manifest
from selip_core.errors import DataError


def problems_of(path, **options):
    with pytest.raises(DataError) as caught:
        read_manifest(path, **options)
    return [str(problem) for problem in caught.value.problems]


def test_reads_rows_reports_and_places(write_set, row):
    path = write_set([row("a"), row("b", split="test", sequence="FLAIR", scanner="Prisma")])
    path.write_text("\n" + path.read_text())  # a blank line shifts the places
    manifest = read_manifest(path)
    assert [row.id for row in manifest.rows] == ["a", "b"]
    assert manifest.rows[1].model_extra == {"scanner": "Prisma"}
    assert manifest.volume_path(0) == path.parent / "a.nii.gz"
    assert manifest.report_of(1).id == "report-b"
    assert manifest.place(1, "volume") == "manifest.jsonl:3 $.volume"


def test_select_keeps_places_and_only_the_reports_of_its_rows(write_set, row):
    rows = [row("a"), row("b", sequence="T1"), row("c", split="test"), row("d", report="report-a")]
    manifest = read_manifest(write_set(rows))
    train = manifest.select("train", ["T2"])
    assert [row.id for row in train.rows] == ["a", "d"]
    assert list(train.reports) == ["report-a"]
    assert train.place(1, "volume") == "manifest.jsonl:4 $.volume"
    assert len(manifest.select(sequences={"T1", "T2"})) == 4
    assert len(manifest.select("validation")) == 0


def test_select_refuses_one_name_for_many(write_set, row):
    manifest = read_manifest(write_set([row()]))
    with pytest.raises(ValueError, match=r"collection such as \['T2'\], got 'T2'"):
        manifest.select(sequences="T2")


def test_round_trip(write_set, row, tmp_path):
    manifest = read_manifest(write_set([row("左", mask="m.nii.gz", age=41)]))
    write_manifest(tmp_path / "copy.jsonl", manifest.rows)
    copy = read_manifest(tmp_path / "copy.jsonl")
    assert copy.rows == manifest.rows
    assert json.loads((tmp_path / "copy.jsonl").read_text("utf-8")) == row(
        "左", mask="m.nii.gz", age=41
    )


def test_all_problems_at_once_with_line_and_field(write_set, row, tmp_path):
    good = [row("a"), row("b")]
    path = write_set(good)
    wrong_type = row("c", study=3)
    missing = row("d")
    del missing["patient"]
    lines = [
        json.dumps(good[0]),
        '{"id": "x", ',
        json.dumps(wrong_type),
        json.dumps(missing),
        json.dumps(row("e", split="dev")),
        json.dumps(row("f", sequence="T9", report="report-a")),
        json.dumps(row("a", report="report-b")),
        json.dumps(row("g", report="nowhere")),
        "[1]",
    ]
    path.write_text("\n".join(lines))
    problems = problems_of(path)
    expected = [
        r"manifest.jsonl:2 \$: not JSON at column 13: it ends within",
        r"manifest.jsonl:3 \$.study: must be a string, got a number; put it in quotes",
        r"manifest.jsonl:4 \$.patient: this key is missing",
        r"manifest.jsonl:5 \$.split: must be 'train', 'validation' or 'test'",
        r"manifest.jsonl:9 \$: must be an object, got a list",
        r"manifest.jsonl:6 \$.sequence: unknown sequence; known are ADC, .*pass sequences=",
        r"manifest.jsonl:7 \$.id: line 1 has this id too",
        r"manifest.jsonl:8 \$.report: no report with this id",
    ]
    assert len(problems) == len(expected)
    for problem, pattern in zip(problems, expected, strict=True):
        assert re.match(pattern, problem)
        assert "nowhere" not in problem


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ("/data/a.nii.gz", "must be relative"),
        ("C:/data/a.nii.gz", "must be relative"),
        ("C:a.nii.gz", "must be relative"),
        ("folder\\a.nii.gz", "forward slashes"),
        ("../a.nii.gz", "must stay inside"),
        ("b/../../a.nii.gz", "must stay inside"),
        ("", "must not be empty"),
    ],
)
@pytest.mark.parametrize("field", ["volume", "mask"])
def test_paths_that_leave_the_folder_are_refused(write_set, row, volume, message, field):
    path = write_set([row()])
    path.write_text(json.dumps(row(**{field: volume})))
    (problem,) = problems_of(path)
    assert re.match(rf"manifest.jsonl:1 \$.{field}: .*{message}", problem)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_empty_manifest(write_set, row, text):
    path = write_set([row()])
    path.write_text(text)
    assert problems_of(path) == [
        "manifest.jsonl: the manifest is empty; it needs one row per volume"
    ]


def test_sequences_of_your_own(write_set, row):
    path = write_set([row(sequence="QSM")])
    assert "$.sequence: unknown sequence" in problems_of(path)[0]
    assert len(read_manifest(path, sequences=KNOWN_SEQUENCES | {"QSM"})) == 1


def test_missing_reports_file_is_told_once(write_set, row, tmp_path):
    path = write_set([row("a"), row("b")])
    (tmp_path / "reports.jsonl").rename(tmp_path / "others.jsonl")
    assert re.match(r"reports.jsonl: there is no such reports file", problems_of(path)[0])
    assert len(problems_of(path)) == 1
    assert len(read_manifest(path, tmp_path / "others.jsonl")) == 2


def test_problems_of_reports_come_with_those_of_the_manifest(write_set, row, tmp_path):
    path = write_set([row("a", sequence="T9")])
    (tmp_path / "reports.jsonl").write_text('{"id": "report-a", "findings": 3}\n')
    problems = problems_of(path)
    assert problems[0].startswith("manifest.jsonl:1 $.sequence")
    assert problems[1].startswith("reports.jsonl:1 $.findings")


def test_not_utf8_is_told_by_line(write_set, row):
    path = write_set([row()])
    path.write_bytes(b'{"id": "\xff"}\n')
    assert problems_of(path)[0].startswith("manifest.jsonl:1 $")


def test_missing_manifest(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / "manifest.jsonl")


def test_a_wrong_row_shows_no_value(row):
    with pytest.raises(ValueError, match="study") as caught:
        ManifestRow(**row(study="", patient="Jane Doe"))
    assert "Jane" not in str(caught.value)
