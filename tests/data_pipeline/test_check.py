import argparse
import gzip
import json
import shutil

import nibabel
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from selip_core.cli import check_data
from selip_core.data import Preprocessing, check_manifest
from selip_core.data.nifti import read_nifti


def found(path, **options):
    """Return (severity, check, place) of every issue."""
    result = check_manifest(path, **options)
    return {(issue.severity, issue.check, issue.where) for issue in result.issues}


def message(path, check):
    result = check_manifest(path)
    (issue,) = [issue for issue in result.issues if issue.check == check]
    return issue.message


def save(path, shape=(30, 36, 32), affine=None):
    voxels = np.random.default_rng(0).random(shape, dtype=np.float32)
    nibabel.save(
        nibabel.Nifti1Image(voxels, np.diag([4, 4, 4, 1]) if affine is None else affine), path
    )


def run(*arguments):
    parser = argparse.ArgumentParser()
    check_data.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["check-data", *map(str, arguments)])
    return parsed.run(parsed)


def test_sound_set_has_no_issue(write_set, row):
    result = check_manifest(write_set([row("a"), row("b", split="test")]))
    assert result.issues == ()
    assert result.rows == {"train": {"T2": 1}, "test": {"T2": 1}}


def test_everything_at_once(write_set, row, tmp_path):
    rows = [row(name) for name in "abcdef"]
    rows[1]["sequence"] = "T9"
    rows[2] |= {"patient": "patient-a", "split": "test"}
    path = write_set(rows)
    path.write_text(path.read_text() + "{\n")
    (tmp_path / "d.nii.gz").unlink()
    (tmp_path / "e.nii.gz").write_bytes(b"no")
    save(tmp_path / "f.nii.gz", (8, 8, 8, 2))
    assert found(path) == {
        ("error", "manifest", "manifest.jsonl:7 $"),
        ("error", "manifest", "manifest.jsonl:2 $.sequence"),
        ("error", "patient", "manifest.jsonl:3 $.patient"),
        ("error", "volume", "manifest.jsonl:4 $.volume"),
        ("error", "volume", "manifest.jsonl:5 $.volume"),
        ("error", "volume", "manifest.jsonl:6 $.volume"),
    }


@pytest.mark.parametrize("value", [np.nan, 1.0])
def test_not_finite_or_constant(write_set, row, tmp_path, value):
    path = write_set([row()])
    voxels = np.full((4, 4, 4), value, dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    assert found(path) == {("error", "volume", "manifest.jsonl:1 $.volume")}


@pytest.mark.parametrize(
    ("scale", "text"),
    [(3.0, "differs from the sequence's median"), (30.0, "outside 0.2 to 10.0 mm")],
)
def test_odd_spacing(write_set, row, tmp_path, scale, text):
    path = write_set([row("a"), row("b"), row("c"), row("other", sequence="T1")])
    save(tmp_path / "b.nii.gz", affine=np.diag([4.0, 4.0, scale, 1.0]))
    if scale == 3.0:
        save(tmp_path / "b.nii.gz", affine=np.diag([4.0, 4.0, 9.0, 1.0]))
    assert text in message(path, "spacing")
    assert found(path) == {("warning", "spacing", "manifest.jsonl:2 $.volume")}


def test_spacing_is_compared_by_direction_not_by_axis_order(write_set, row, tmp_path):
    path = write_set([row("a"), row("b"), row("c")])
    axial = np.diag([1.0, 1.0, 5.0, 1.0])
    for name in "ab":
        save(tmp_path / f"{name}.nii.gz", affine=axial)
    save(tmp_path / "c.nii.gz", affine=axial[:, [2, 0, 1, 3]])  # the same voxels, axes S, R, A
    assert found(path) == {("warning", "orientation", "manifest.jsonl:3 $.volume")}
    assert "run SRA, most of the sequence RAS" in message(path, "orientation")


def test_oblique(write_set, row, tmp_path):
    path = write_set([row()])
    turn = np.radians(40)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    save(tmp_path / "a.nii.gz", affine=affine * [4, 4, 4, 1])
    assert "40 degrees off" in message(path, "orientation")


def test_masks(write_set, row, tmp_path, phantom):
    rows = [row(name, mask=f"mask-{name}.nii.gz") for name in "abcd"]
    path = write_set(rows)
    empty = np.zeros(phantom.shape, dtype=np.uint8)  # nothing marked: a normal study
    nibabel.save(nibabel.Nifti1Image(empty, phantom.affine), tmp_path / "mask-a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(empty, np.eye(4)), tmp_path / "mask-b.nii.gz")
    nibabel.save(nibabel.Nifti1Image(empty[1:], phantom.affine), tmp_path / "mask-c.nii.gz")
    assert found(path) == {
        ("warning", "mask", "manifest.jsonl:2 $.mask"),
        ("error", "mask", "manifest.jsonl:3 $.mask"),
        ("error", "mask", "manifest.jsonl:4 $.mask"),
    }


def test_reports(write_set, row):
    reports = [
        {"id": "report-a", "text": "Nothing seen."},
        {"id": "report-b", "text": "Ｎothing seen. ", "normal": True},
        {"id": "unused", "text": "x", "normal": True},
    ]
    path = write_set([row("a"), row("b"), row("c", report="report-a")], reports)
    assert found(path) == {
        ("warning", "findings", "manifest.jsonl:1 $.report"),
        ("warning", "duplicate text", "reports"),
        ("warning", "report", "reports"),
    }
    assert message(path, "duplicate text").startswith("1 of 3 reports repeat")
    assert message(path, "report") == "no row refers to 1 of 3 reports"


def test_rejected_rows_leave_no_report_unused(write_set, row):
    path = write_set([row("a"), row("b", split="training"), row("c")])
    assert found(path) == {("error", "manifest", "manifest.jsonl:2 $.split")}


def test_a_reports_file_in_place_of_the_manifest(write_set, row, tmp_path):
    write_set([row("a"), row("b"), row("c")])
    result = check_manifest(tmp_path / "reports.jsonl")
    assert result.issues[0].where == "reports.jsonl"
    assert "does not look like a manifest" in result.issues[0].message
    assert result.warnings == 0


def test_one_mistake_on_every_row_is_still_a_manifest(write_set, row):
    path = write_set([row("a", split="training"), row("b", split="training")])
    assert "does not look like" not in check_manifest(path).table()


def test_duplicate_ids(write_set, row):
    reports = [{"id": "report-a", "normal": True}] * 2
    path = write_set([row("a"), row("a")], reports)
    places = {where for severity, _, where in found(path) if severity == "error"}
    assert places == {"manifest.jsonl:2 $.id", "reports.jsonl:2 $.id"}


def test_repeated_volume(write_set, row):
    path = write_set([row("a"), row("b", volume="a.nii.gz")])
    assert message(path, "volume") == "the volume of line 1 again"


def test_dicom_folder(write_set, row, tmp_path):
    path = write_set([row()])
    (tmp_path / "s").mkdir()
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "s")
    path.write_text(json.dumps(row(volume="s")))
    assert found(path) == set()


def test_missing_extra_is_an_issue(write_set, row, monkeypatch, tmp_path):
    path = write_set([row()])
    (tmp_path / "s").mkdir()
    path.write_text(json.dumps(row(volume="s")))

    def refuse(module, extra):
        raise ImportError(f'{module} is needed: pip install "selip-core[{extra}]"')

    monkeypatch.setattr("selip_core.data.dicom.require", refuse)
    assert "selip-core[dicom]" in message(path, "volume")


def test_table_and_exit_code(write_set, row, capsys):
    path = write_set([row("a"), row("b", split="test")])
    assert run(path) == 0
    output = capsys.readouterr()
    assert "manifest.jsonl: 2 rows" in output.out
    assert "0 errors, 0 warnings" in output.out
    assert "reading volumes" in output.err


def test_values_only_on_request(write_set, row, tmp_path, capsys):
    path = write_set([row("jane")])
    (tmp_path / "jane.nii.gz").unlink()
    assert run(path, "--json", tmp_path / "issues.json") == 1
    shown = capsys.readouterr().out
    assert "manifest.jsonl:1 $.volume: there is no such file" in shown
    assert "jane" not in shown + (tmp_path / "issues.json").read_text()
    assert run(path, "--show-values", "--json", tmp_path / "issues.json") == 1
    assert "[jane.nii.gz]" in capsys.readouterr().out
    assert json.loads((tmp_path / "issues.json").read_text())["issues"][0]["value"] == (
        "jane.nii.gz"
    )


def test_json_alone(write_set, row, capsys):
    path = write_set([row("a", sequence="QSM")])
    assert run(path, "--json", "-") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["errors"] == 1
    assert result["issues"][0]["where"] == "manifest.jsonl:1 $.sequence"
    assert run(path, "--allow-sequence", "QSM") == 0


def test_long_lists_are_cut_in_the_table_only(write_set, row):
    path = write_set([row(str(number), sequence="T9", volume="a.nii.gz") for number in range(25)])
    result = check_manifest(path)
    assert "  and 5 more; --json FILE has them all" in result.table()
    assert result.as_dict()["errors"] == 25


def test_missing_manifest(tmp_path):
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "manifest.jsonl")


def test_one_volume_that_fails_is_one_problem_of_its_row(write_set, row, tmp_path, monkeypatch):
    """Claims of 100 GB, odd lengths, no memory: the other rows are checked, and it returns."""
    path = write_set([row(name) for name in "abcdefg"])
    sound = nibabel.load(tmp_path / "a.nii.gz")
    header = sound.header.copy()
    header["dim"][1:4], header["vox_offset"] = 3000, 352
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(4000)))
    save(tmp_path / "c.nii.gz", affine=np.diag([1000.0, 1000, 1000, 1]))
    save(tmp_path / "d.nii.gz", affine=np.diag([0.01, 0.01, 0.01, 1]))
    save(tmp_path / "e.nii.gz", (64, 64, 64), affine=np.diag([150.0, 150, 150, 1]))  # 9.5 m

    def read(file, *options):
        if file.name == "f.nii.gz":
            raise MemoryError
        if file.name == "g.nii.gz":
            raise RuntimeError("of the library's own")
        return read_nifti(file, *options)

    monkeypatch.setattr("selip_core.data.volumes.read_nifti", read)
    result = check_manifest(path)
    texts = {issue.where: issue.message for issue in result.issues if issue.severity == "error"}
    expected = {
        2: "unpacks to 100.6 GiB, more than the limit of 2 GiB",  # 4 * 2.7e10 / 2**30
        3: "1e+03 x 1e+03 x 1e+03 mm large",
        4: "0.01 x 0.01 x 0.01 mm large",
        5: "at the spacing of training",
        6: "needs more memory than there is",
        7: "cannot be read (RuntimeError)",
    }
    assert set(texts) == {f"manifest.jsonl:{line} $.volume" for line in expected}
    for line, text in expected.items():
        assert text in texts[f"manifest.jsonl:{line} $.volume"]


def test_volume_and_mask_take_the_chosen_form(write_set, row, tmp_path, phantom):
    path = write_set([row(mask="mask.nii.gz")])
    for name in ("a", "mask"):
        image = nibabel.Nifti1Image(phantom.get_fdata(dtype=np.float32), phantom.affine)
        image.set_qform(np.eye(4) if name == "a" else phantom.affine, 1)
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    assert "geometry = " in message(path, "volume")
    assert check_manifest(path, geometry="sform").issues == ()
    (issue,) = check_manifest(path, geometry="qform").issues
    assert issue.message == "the mask lies elsewhere than its volume (their affines differ)"
    assert run(path, "--geometry", "sform") == 0
    assert run(path) == 1


def test_volumes_are_prepared_as_a_run_will(write_set, row, tmp_path):
    """Two values pass as a volume, and fail in preprocessing."""
    path = write_set([row()])
    voxels = np.zeros((10, 10, 10), dtype=np.uint8)
    voxels[:5] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([4.0, 4, 4, 1])), tmp_path / "a.nii.gz")
    assert check_manifest(path).errors == 0
    (tmp_path / "settings.toml").write_text("[data]\nspacing = [4, 4, 4]\n")
    assert run(path, "--config", tmp_path / "settings.toml") == 1
    result = check_manifest(path, preprocessing=Preprocessing((4, 4, 4)))
    (issue,) = [issue for issue in result.issues if issue.severity == "error"]
    assert issue.where == "manifest.jsonl:1 $.volume"
    assert "at most two values left" in issue.message
