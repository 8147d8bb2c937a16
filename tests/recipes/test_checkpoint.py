import json
from pathlib import Path

import pytest
import torch

from selip_core.recipes.checkpoint import load_checkpoint, save_checkpoint


class Killed(BaseException):
    pass


def save(folder, step):
    return save_checkpoint(folder, step, {"x": torch.full((2,), float(step))}, {"step": step})


def test_the_last_checkpoint_is_kept_alone(tmp_path):
    save(tmp_path, 9)
    save(tmp_path, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]
    tensors, scalars = load_checkpoint(tmp_path)
    assert tensors["x"].tolist() == [10, 10]
    assert scalars == {"step": 10}


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "missing") is None


@pytest.mark.parametrize("moment", ["tensors", "scalars", "rename", "removal"])
def test_a_kill_at_any_moment_leaves_a_complete_one(tmp_path, monkeypatch, moment):
    save(tmp_path, 1)

    def kill(*arguments, **named):
        raise Killed

    target = {
        "tensors": ("safetensors.torch.save_file", kill),
        "scalars": ("selip_core.recipes.checkpoint.json.dumps", kill),
        "rename": ("pathlib.Path.rename", kill),
        "removal": ("pathlib.Path.iterdir", kill),
    }[moment]
    with monkeypatch.context() as patch:
        patch.setattr(*target)
        with pytest.raises(Killed):
            save(tmp_path, 2)
    tensors, scalars = load_checkpoint(tmp_path)
    expected = 2 if moment == "removal" else 1
    assert scalars == {"step": expected}
    assert tensors["x"].tolist() == [expected] * 2
    save(tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_what_is_written_is_safetensors_and_json(tmp_path):
    folder = save(tmp_path, 1)
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    assert json.loads(Path(folder / "scalars.json").read_text()) == {"step": 1}
