import json
from pathlib import Path

import pytest
import torch

from selip_core.recipes.checkpoint import (
    load_checkpoint,
    restore_tensors,
    save_checkpoint,
    state_tensors,
)


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


def test_another_number_of_gpus_is_told(monkeypatch, caplog):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    tensors = state_tensors(model, optimizer)
    restored = []
    monkeypatch.setattr(
        "torch.cuda.set_rng_state", lambda state, index: restored.append((index, state))
    )

    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    restore_tensors(model, optimizer, tensors)
    assert restored == []
    assert "written with 0 GPUs and is resumed with 1" in caplog.text

    caplog.clear()
    restore_tensors(model, optimizer, tensors | {"random.cuda.0": torch.ones(3)})
    assert [index for index, _ in restored] == [0]
    assert caplog.text == ""
