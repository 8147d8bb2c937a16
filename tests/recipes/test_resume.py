"""Runs that are resumed after their data, their folder or their machine changed."""

import json
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest

from selip_core.data import VolumeDataset
from selip_core.errors import DataError
from selip_core.interruption import Interrupted
from selip_core.recipes import loading, pretrain
from selip_core.recipes.folder_lock import lock_folder
from selip_core.recipes.training import Trainer


@pytest.fixture
def data(manifest, tmp_path):
    """A copy of the data set that a test may change."""
    shutil.copytree(manifest.parent, tmp_path / "data")
    return tmp_path / "data" / manifest.name


@pytest.fixture(scope="module")
def stopped_run(manifest, make_config, tmp_path_factory):
    """The folder of a run of two epochs that was stopped in its second."""
    folder, take_step = tmp_path_factory.mktemp("stopped") / "run", Trainer.step

    def step_then_stop(self, batch):
        loss = take_step(self, batch)
        if self.position.step == 5:
            raise Interrupted("stopped")
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", step_then_stop)
        with pytest.raises(Interrupted):
            pretrain(manifest, make_config(epochs=2), folder, progress=False)
    return folder


@pytest.fixture
def stopped(stopped_run, data, make_config, tmp_path):
    """A copy of that run in ``run``, and a function that resumes it."""
    shutil.copytree(stopped_run, tmp_path / "run")
    config = make_config(epochs=2)

    def resume(**options):
        return pretrain(data, config, tmp_path / "run", resume=True, progress=False, **options)

    return resume


def exchange(folder, one, other):
    (folder / one).rename(folder / "x")
    (folder / other).rename(folder / one)
    (folder / "x").rename(folder / other)


def history(tmp_path):
    return [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").open()]


def test_exchanged_volumes_are_refused_by_line(stopped, data, tmp_path):
    exchange(data.parent, "s0-T2.nii.gz", "s2-T2.nii.gz")
    expected = r"volumes that changed: 2, of manifest.jsonl lines 1, 4\n.*--accept-changed-data"
    with pytest.raises(ValueError, match=expected):
        stopped()
    exchange(data.parent, "s0-T2.nii.gz", "s2-T2.nii.gz")
    stopped()
    assert all("data_changes" not in row for row in history(tmp_path))


def test_accepted_changes_are_kept_in_the_history(stopped, data, tmp_path, caplog):
    exchange(data.parent, "s0-T2.nii.gz", "s2-T2.nii.gz")
    stopped(accept_changed_data=True)
    assert "its history says so" in caplog.text
    counts = {"rows": 0, "volumes": 2, "added": 0, "removed": 0}
    assert [row.get("data_changes") for row in history(tmp_path)] == [
        None,
        [{"step": 3, **counts}],
    ]
    stopped()  # the record is that of the changed data


def test_fewer_rows_may_be_accepted(stopped, data, tmp_path):
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(lines[7:]))  # eleven training rows are left: one batch per epoch
    with pytest.raises(ValueError, match="rows that are gone: 7"):
        stopped()
    stopped(accept_changed_data=True)
    assert history(tmp_path)[-1]["step"] == 3


def test_accepting_is_for_resumed_runs(data, make_config, tmp_path):
    with pytest.raises(ValueError, match="add --resume"):
        pretrain(data, make_config(), tmp_path / "run", accept_changed_data=True)


def test_missing_volumes_are_all_named(stopped, data):
    (data.parent / "s0-T2.nii.gz").unlink()
    (data.parent / "s1-DWI.nii.gz").unlink()
    with pytest.raises(DataError) as caught:
        stopped()
    assert [problem.where for problem in caught.value.problems] == [
        "manifest.jsonl:1 $.volume",
        "manifest.jsonl:3 $.volume",
    ]


@pytest.mark.parametrize("record", [None, "", "{"])
def test_a_run_without_a_record_goes_on_with_a_warning(stopped, tmp_path, caplog, record):
    if record is None:
        (tmp_path / "run" / "data.json").unlink()
    else:
        (tmp_path / "run" / "data.json").write_text(record)
    stopped()
    assert "data.json is" in caplog.text
    assert "whether volumes changed since the run was started is not known" in caplog.text
    caplog.clear()
    stopped()
    assert caplog.text == ""


def test_without_a_record_changed_reports_are_still_refused(stopped, data, tmp_path):
    (tmp_path / "run" / "data.json").unlink()
    reports = data.with_name("reports.jsonl")
    reports.write_text(reports.read_text().replace("pons.", "pons"))
    with pytest.raises(ValueError, match="the manifest or its reports\n"):
        stopped()
    stopped(accept_changed_data=True)


def test_a_run_without_a_checkpoint_takes_the_data_as_they_are(stopped, data, tmp_path):
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    (tmp_path / "run" / "history.jsonl").unlink()
    exchange(data.parent, "s0-T2.nii.gz", "s2-T2.nii.gz")
    stopped()
    assert [row["step"] for row in history(tmp_path)] == [3, 6]


@pytest.mark.parametrize("kept", ["history.jsonl", "model"])
def test_a_run_whose_checkpoints_were_deleted_does_not_start_anew(stopped, tmp_path, kept):
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    if kept == "model":
        (tmp_path / "run" / "history.jsonl").unlink()
        (tmp_path / "run" / "model").mkdir()
    with pytest.raises(ValueError, match="holds no checkpoint to go on from; put back a copy"):
        stopped()


@pytest.mark.parametrize("kept", ["checkpoint", "model"])
def test_a_run_without_its_settings_is_not_written_over(stopped, data, make_config, tmp_path, kept):
    run = tmp_path / "run"
    (run / "config.json").unlink()
    if kept == "model":
        shutil.rmtree(run / "checkpoint")
        (run / "model").mkdir()
    with pytest.raises(FileExistsError, match="holds a run already; go on with --resume"):
        pretrain(data, make_config(epochs=2), run, progress=False)


def test_a_damaged_history_is_written_again(stopped, tmp_path):
    path = tmp_path / "run" / "history.jsonl"
    path.write_text(path.read_text()[:20])
    stopped()
    assert [row["epoch"] for row in history(tmp_path)] == [0, 1]


@pytest.mark.parametrize("content", ["", "{", None])
def test_damaged_settings_are_written_again(stopped, tmp_path, caplog, content):
    path = tmp_path / "run" / "config.json"
    before = path.read_text()
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    stopped()
    assert path.read_text() == before
    assert "config.json was damaged and is written again from the checkpoint" in caplog.text


def test_settings_that_were_edited_on_both_sides_are_refused(stopped, data, make_config, tmp_path):
    changed = make_config(epochs=2, optimizer={"learning_rate_image": 1.0})
    (tmp_path / "run" / "config.json").write_text(changed.model_dump_json())
    with pytest.raises(ValueError, match=r"those of its last checkpoint .*\n.*learning_rate_image"):
        pretrain(data, changed, tmp_path / "run", resume=True, progress=False)


def test_what_a_killed_run_left_half_written_is_removed(stopped, tmp_path):
    left = [
        tmp_path / "run" / ".partial-0123456789ab-history.jsonl",
        tmp_path / "run" / ".partial-0123456789ab-model",
        tmp_path / "run" / "checkpoint" / ".partial-0123456789ab-step-00000006",
    ]
    for path in left:
        path.mkdir()
    stopped()
    assert not any(path.exists() for path in left)


def test_a_folder_in_use_is_not_touched(stopped, tmp_path):
    before = sorted(tmp_path.joinpath("run").rglob("*"))
    with lock_folder(tmp_path / "run"):
        with pytest.raises(BlockingIOError, match=f"in use: process {os.getpid()} "):
            stopped()
        (tmp_path / "run" / "run.lock").unlink()
        assert sorted(tmp_path.joinpath("run").rglob("*")) == before


def test_a_folder_that_is_deleted_during_training_is_named(
    data, make_config, tmp_path, monkeypatch
):
    take_step = Trainer.step

    def step_then_delete(self, batch):
        if self.position.step == 2:
            shutil.rmtree(tmp_path / "run")
        return take_step(self, batch)

    monkeypatch.setattr(Trainer, "step", step_then_delete)
    with pytest.raises(OSError, match=r"No such file or directory.*run") as caught:
        pretrain(data, make_config(), tmp_path / "run", progress=False)
    assert caught.value.filename == str(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_processes_are_refused_before_anything_is_written(
    data, make_config, tmp_path, monkeypatch
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched"):
        pretrain(data, make_config(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_reader_is_named(data, make_config, tmp_path, monkeypatch, workers):
    training, read = os.getpid(), VolumeDataset._read

    def killed_in_readers(self, index):
        if os.getpid() != training and index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    monkeypatch.setattr(VolumeDataset, "_read", killed_in_readers)
    config = make_config(data={"workers": workers, "in_memory": False})
    with pytest.raises(ChildProcessError, match="a process that reads volumes was killed"):
        pretrain(data, config, tmp_path / "run", progress=False)


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(104, "reset by peer")])
def test_a_reader_killed_while_it_hands_over_a_batch_is_named(error):
    reader = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    reader.start()
    reader.kill()

    def batches():
        raise error
        yield

    with pytest.raises(ChildProcessError, match="a process that reads volumes was killed"):
        loading._next(batches(), None, [], {reader})


def test_a_batch_on_which_a_reader_failed_is_read_again(
    data, make_config, tmp_path, monkeypatch, caplog
):
    training, read = os.getpid(), VolumeDataset._read

    def fail_in_readers(self, index):
        if os.getpid() != training and index == 3:
            raise OSError("transient")
        return read(self, index)

    monkeypatch.setattr(VolumeDataset, "_read", fail_in_readers)
    config = make_config(epochs=1, data={"workers": 1, "in_memory": False})
    assert pretrain(data, config, tmp_path / "run", progress=False).exists()
    assert "a process that reads volumes failed (OSError); its batch was read by" in caplog.text
    assert np.isfinite(history(tmp_path)[0]["loss"])
