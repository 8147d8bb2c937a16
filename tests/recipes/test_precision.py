"""Mixed precision: what is chosen, and the scaler of float16, tried on the CPU."""

import importlib
import json

import pytest
import torch
from safetensors.torch import load_file

from selip_core.recipes import pretrain
from selip_core.recipes.training import Trainer

recipe = importlib.import_module("selip_core.recipes.pretrain")


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is a GPU, with or without bfloat16."""

    def pretend(bf16):
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr(
            "torch.cuda.is_bf16_supported",
            lambda including_emulation=True: bf16 or including_emulation,
        )

    return pretend


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_takes_what_the_gpu_has(gpu, bf16, expected):
    gpu(bf16)
    assert recipe._precision("auto") == expected
    assert recipe._precision("no") == "no"


def test_auto_is_float32_without_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert recipe._precision("auto") == "no"
    with pytest.raises(ValueError, match="'fp16' needs a GPU and found none; set 'no' or 'auto'"):
        recipe._precision("fp16")


@pytest.fixture
def scaled(monkeypatch):
    """Scale gradients as in float16, from a scale on; the computation stays in float32."""
    make = recipe.make_accelerator

    def start_from(scale):
        def make_scaled(config, folder):
            accelerator = make(config, folder)
            accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=5)
            return accelerator

        monkeypatch.setattr(recipe, "make_accelerator", make_scaled)

    return start_from


def last_scaler(run):
    checkpoint = max((run / "checkpoint").iterdir())
    return json.loads((checkpoint / "scalars.json").read_text())["scalars"]["scaler"]


def test_the_scale_goes_on_after_a_resume(manifest, make_config, tmp_path, scaled, monkeypatch):
    scaled(2.0**10)
    config = make_config()
    take_step = Trainer.step

    def fail_at_7(self, batch):
        if self.position.step == 7:
            raise RuntimeError("power cut")
        return take_step(self, batch)

    pretrain(manifest, config, tmp_path / "straight", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", fail_at_7)
        with pytest.raises(RuntimeError, match="power cut"):
            pretrain(manifest, config, tmp_path / "stopped", progress=False)
    # Of epoch 1, after six steps: one of them since the scale was doubled.
    assert last_scaler(tmp_path / "stopped")["scale"] == 2.0**11
    assert last_scaler(tmp_path / "stopped")["_growth_tracker"] == 1
    pretrain(manifest, config, tmp_path / "stopped", resume=True, progress=False)
    # Twelve steps, and the scale doubles after every five.
    assert last_scaler(tmp_path / "straight")["scale"] == 2.0**12
    assert last_scaler(tmp_path / "stopped") == last_scaler(tmp_path / "straight")
    straight, stopped = (
        load_file(tmp_path / name / "model" / "model.safetensors")
        for name in ("straight", "stopped")
    )
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in straight.items())


def test_an_overflow_changes_no_weight(manifest, make_config, tmp_path, scaled):
    scaled(3e38)
    pretrain(manifest, make_config(steps=1), tmp_path, progress=False)
    assert last_scaler(tmp_path)["scale"] == pytest.approx(1.5e38)
    (checkpoint,) = (tmp_path / "checkpoint").iterdir()
    names = load_file(checkpoint / "tensors.safetensors")
    assert not any(name.startswith("optimizer.") for name in names)
