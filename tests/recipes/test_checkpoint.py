import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from selip_core.errors import WriteError
from selip_core.interruption import Interrupted
from selip_core.recipes.checkpoint import load_checkpoint, save_checkpoint
from selip_core.tensor_files import load_tensors


class Killed(BaseException):
    pass


def save(folder, step):
    return save_checkpoint(folder, step, {"x": torch.full((2,), float(step))}, {"step": step})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_checkpoints_are_kept(tmp_path):
    for step in (9, 10, 11):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-00000010", "step-00000011"]
    tensors, scalars = load_checkpoint(tmp_path)
    assert tensors["x"].tolist() == [11, 11]
    assert scalars == {"step": 11}


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "missing") is None


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    save(tmp_path, 3)
    save_checkpoint(tmp_path, 3, {"x": torch.zeros(1)}, {"step": 3, "validated": True})
    assert load_checkpoint(tmp_path)[1] == {"step": 3, "validated": True}
    assert names(tmp_path) == ["step-00000003"]


@pytest.mark.parametrize("moment", ["tensors", "scalars", "rename", "removal"])
def test_a_kill_at_any_moment_leaves_a_complete_one(tmp_path, monkeypatch, moment):
    save(tmp_path, 0)
    save(tmp_path, 1)

    def kill(*arguments, **named):
        raise Killed

    target = {
        "tensors": ("safetensors.torch.save_file", kill),
        "scalars": ("selip_core.recipes.checkpoint.json.dumps", kill),
        "rename": ("pathlib.Path.rename", kill),
        "removal": ("selip_core.recipes.checkpoint.shutil.rmtree", kill),
    }[moment]
    with monkeypatch.context() as patch:
        patch.setattr(*target)
        with pytest.raises(Killed):
            save(tmp_path, 2)
    tensors, scalars = load_checkpoint(tmp_path)
    expected = 2 if moment == "removal" else 1
    assert scalars == {"step": expected}
    assert tensors["x"].tolist() == [expected] * 2


def test_what_is_written_is_safetensors_and_json(tmp_path):
    folder = save(tmp_path, 1)
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    content = json.loads((folder / "scalars.json").read_text())
    assert content["scalars"] == {"step": 1}
    assert (content["format"], content["processes"]) == (2, 1)
    assert load_file(folder / "tensors.safetensors")["x"].tolist() == [1, 1]


def cut(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def remove(file):
    file.unlink()


def fill_with_zeros(file):
    file.write_bytes(bytes(file.stat().st_size))


def exchange(file):
    file.write_bytes((file.parents[1] / "step-00000001" / file.name).read_bytes())


def replace_by_a_folder(file):
    file.unlink()
    file.mkdir()


DAMAGES = [cut, flip, empty, remove, fill_with_zeros, exchange, replace_by_a_folder]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["tensors.safetensors", "scalars.json"])
def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path, caplog, name, damage):
    save(tmp_path, 1)
    damage(save(tmp_path, 2) / name)
    tensors, scalars = load_checkpoint(tmp_path)
    assert (tensors["x"].tolist(), scalars) == ([1, 1], {"step": 1})
    assert "step-00000002 is damaged" in caplog.text
    assert name in caplog.text
    assert names(tmp_path) == ["damaged-step-00000002", "step-00000001"]
    save(tmp_path, 2)
    assert load_checkpoint(tmp_path)[1] == {"step": 2}


def test_an_edited_value_is_damage(tmp_path, caplog):
    save(tmp_path, 1)
    file = save(tmp_path, 2) / "scalars.json"
    file.write_text(file.read_text().replace('{"step": 2}', '{"step": 7}'))
    assert load_checkpoint(tmp_path)[1] == {"step": 1}
    assert "scalars.json has another SHA-256 than was written" in caplog.text


def test_without_a_whole_checkpoint_all_are_named(tmp_path):
    cut(save(tmp_path, 1) / "tensors.safetensors")
    remove(save(tmp_path, 2) / "scalars.json")
    message = r"no checkpoint that is whole; put back a copy .*\n  step-00000002: scalars.json is"
    with pytest.raises(ValueError, match=message + r" missing\n  step-00000001: .*is damaged"):
        load_checkpoint(tmp_path)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("other", [1, 3])
def test_a_checkpoint_of_another_version_is_named(tmp_path, other):
    file = save(tmp_path, 1) / "scalars.json"
    content = json.loads(file.read_text()) | {"format": other, "written_by": "selip-core 9"}
    if other == 1:  # which held the scalars themselves
        content = {"position": {}, "random": {}, "data": "0"}
    file.write_text(json.dumps(content))
    writer = "an earlier one" if other == 1 else "selip-core 9"
    message = rf"step-00000001 has format {other} and .* reads format 2; finish .*{writer}"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path)


def test_a_checkpoint_of_several_processes_is_refused(tmp_path):
    file = save(tmp_path, 1) / "scalars.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"processes": 4}))
    with pytest.raises(ValueError, match="was written by 4 processes"):
        load_checkpoint(tmp_path)


def test_an_interrupt_while_reading_is_not_damage(tmp_path, monkeypatch):
    save(tmp_path, 1)
    save(tmp_path, 2)

    def interrupt(path):
        signal.raise_signal(signal.SIGTERM)
        return load_tensors(path)

    with monkeypatch.context() as patch:
        patch.setattr("selip_core.recipes.checkpoint.load_tensors", interrupt)
        with pytest.raises(Interrupted):
            load_checkpoint(tmp_path)
    assert load_checkpoint(tmp_path)[1] == {"step": 2}


def test_a_checkpoint_that_cannot_be_written_leaves_those_before(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def fail(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", fail)
    with pytest.raises(WriteError, match=r"No space left on device.*step-00000002"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001"]
