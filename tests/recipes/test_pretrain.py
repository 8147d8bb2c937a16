import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selip_core.interruption import Interrupted
from selip_core.losses import SimilarityCLIPLoss
from selip_core.recipes import load_model, pretrain
from selip_core.recipes.model import without_paths
from selip_core.recipes.training import Trainer
from selip_core.recipes.validation import Validator


def press_ctrl_c_at(monkeypatch, step):
    take_step = Trainer.step

    def step_then_interrupt(self, batch):
        loss = take_step(self, batch)
        if self.position.step == step:
            signal.raise_signal(signal.SIGINT)
        return loss

    monkeypatch.setattr(Trainer, "step", step_then_interrupt)


@pytest.mark.parametrize("target", ["none", "identical", "syntax", "paper"])
def test_every_target_trains(manifest, make_config, tmp_path, target):
    config = make_config(objective={"target": target}, epochs=2)
    model_folder = pretrain(manifest, config, tmp_path, progress=False)
    assert model_folder == tmp_path / "model"
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in history] == [0, 1]
    assert [row["step"] for row in history] == [3, 6]
    assert history[0]["validation"].keys() == {"recall", "chance", "queries"}
    assert 0 <= history[1]["validation"]["recall"] <= 1
    model, loaded = load_model(model_folder)
    assert loaded == without_paths(config)
    assert not model.training
    card = (model_folder / "README.md").read_text(encoding="utf-8")
    assert "Trained on 18 volumes (DWI, T2) of 12 studies" in card
    assert f"| R@1, image to text | {history[1]['validation']['recall']:.4g} |" in card


def test_a_batch_is_learned(manifest, make_config, tmp_path):
    config = make_config(epochs=15, data={"batch_size": 18}, validate_every=15)
    pretrain(manifest, config, tmp_path, progress=False)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "history.jsonl").open()]
    assert losses[-1] < 0.8 * losses[0]


def test_the_similarity_weight_follows_its_schedule(manifest, make_config, tmp_path, monkeypatch):
    seen, forward = [], SimilarityCLIPLoss.forward

    def watched(self, *args, **kwargs):
        seen.append(self.similarity_weight)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(SimilarityCLIPLoss, "forward", watched)
    objective = {"similarity_weight": 2.0, "similarity_schedule": "falling"}
    pretrain(manifest, make_config(steps=4, objective=objective), tmp_path, progress=False)
    assert seen == [2.0, 1.5, 1.0, 0.5]


@pytest.mark.parametrize("frozen", [True, False])
def test_an_interrupted_run_reaches_the_same_bits(
    manifest, make_config, tmp_path, monkeypatch, frozen, weights, assert_same_weights
):
    # Step 8 lies within the third epoch of three batches.
    config = make_config(text_encoder={"frozen": frozen}, data={"flip_probability": 0.5})
    pretrain(manifest, config, tmp_path / "straight", progress=False)
    with monkeypatch.context() as patch:
        press_ctrl_c_at(patch, step=8)
        with pytest.raises(KeyboardInterrupt, match=r"stopped after step 8 of 12.*--resume"):
            pretrain(manifest, config, tmp_path / "stopped", progress=False)
    assert not (tmp_path / "stopped" / "model").exists()
    torch.randn(7)  # whatever the process draws in between must not matter
    pretrain(manifest, config, tmp_path / "stopped", resume=True, progress=False)
    assert_same_weights(weights(tmp_path / "straight"), weights(tmp_path / "stopped"))
    straight, stopped = (
        [json.loads(line) | {"seconds": 0} for line in (tmp_path / name / "history.jsonl").open()]
        for name in ("straight", "stopped")
    )
    assert straight == stopped


def test_an_interrupt_in_the_last_step_still_validates(
    manifest, make_config, tmp_path, monkeypatch
):
    config = make_config(steps=2)
    with monkeypatch.context() as patch:
        press_ctrl_c_at(patch, step=2)
        with pytest.raises(KeyboardInterrupt):
            pretrain(manifest, config, tmp_path, progress=False)
    pretrain(manifest, config, tmp_path, resume=True, progress=False)
    (row,) = map(json.loads, (tmp_path / "history.jsonl").open())
    assert row["step"] == 2
    assert "validation" in row


def test_an_interrupt_does_not_wait_for_a_validation(
    manifest, make_config, tmp_path, monkeypatch, weights, assert_same_weights
):
    validate = Validator.__call__

    def interrupt_then_validate(self, after_batch):
        signal.raise_signal(signal.SIGTERM)
        return validate(self, after_batch)

    config = make_config(epochs=2)
    pretrain(manifest, config, tmp_path / "straight", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(Validator, "__call__", interrupt_then_validate)
        with pytest.raises(Interrupted, match=r"stopped by SIGTERM after step 3 of 6.*--resume"):
            pretrain(manifest, config, tmp_path / "stopped", progress=False)
    assert (tmp_path / "stopped" / "history.jsonl").read_text() == ""
    pretrain(manifest, config, tmp_path / "stopped", resume=True, progress=False)
    rows = list(map(json.loads, (tmp_path / "stopped" / "history.jsonl").open()))
    assert all("validation" in row for row in rows)
    assert_same_weights(weights(tmp_path / "straight"), weights(tmp_path / "stopped"))


def test_resuming_a_finished_run_changes_nothing(
    manifest, make_config, tmp_path, weights, assert_same_weights
):
    config = make_config(epochs=1)
    pretrain(manifest, config, tmp_path, progress=False)
    before = weights(tmp_path)
    pretrain(manifest, config, tmp_path, resume=True, progress=False)
    assert_same_weights(before, weights(tmp_path))


def test_a_frozen_backbone_stays_as_it_was(manifest, make_config, tmp_path, text_encoder, weights):
    pretrain(manifest, make_config(epochs=1), tmp_path, progress=False)
    name = "embeddings.word_embeddings.weight"
    before = load_file(Path(text_encoder) / "model.safetensors")[name]
    assert torch.equal(weights(tmp_path)[f"text_encoder.backbone.{name}"], before)
    (checkpoint,) = (tmp_path / "checkpoint").iterdir()
    saved = load_file(checkpoint / "tensors.safetensors")
    assert {"random.cpu.rank0", "optimizer.0.exp_avg"} <= saved.keys()
    assert f"model.text_encoder.backbone.{name}" not in saved
    assert "model.text_encoder.projection.weight" in saved


def test_a_run_is_not_overwritten(manifest, make_config, tmp_path):
    config = make_config(epochs=1)
    pretrain(manifest, config, tmp_path, progress=False)
    with pytest.raises(FileExistsError, match="holds a run already; go on with --resume"):
        pretrain(manifest, config, tmp_path, progress=False)


def test_changed_settings_are_shown(manifest, make_config, tmp_path):
    pretrain(manifest, make_config(epochs=1), tmp_path, progress=False)
    changed = make_config(epochs=1, seed=1, objective={"gamma": 2.0})
    with pytest.raises(ValueError, match=r"objective\.gamma: 8\.0 -> 2\.0\n  seed: 0 -> 1"):
        pretrain(manifest, changed, tmp_path, resume=True, progress=False)


def test_changed_data_is_refused(manifest, make_config, tmp_path):
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in manifest.parent.iterdir():
        (copied / path.name).symlink_to(path)
    pretrain(copied / manifest.name, make_config(epochs=1), tmp_path / "run", progress=False)
    reports = (copied / "reports.jsonl").read_text()
    (copied / "reports.jsonl").unlink()
    (copied / "reports.jsonl").write_text(reports.replace("pons.", "pons"))
    told = r"rows or reports that changed: \d+, of manifest.jsonl lines \d+, "
    with pytest.raises(ValueError, match=told):
        pretrain(
            copied / manifest.name,
            make_config(epochs=1),
            tmp_path / "run",
            resume=True,
            progress=False,
        )


def test_nothing_to_resume_is_told(manifest, make_config, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run to resume; leave out --resume"):
        pretrain(manifest, make_config(), tmp_path / "new", resume=True, progress=False)


def test_a_loss_that_is_not_finite_stops_training(manifest, make_config, tmp_path, monkeypatch):
    forward = Trainer._forward
    monkeypatch.setattr(Trainer, "_forward", lambda *arguments: forward(*arguments) * torch.nan)
    with pytest.raises(ValueError, match=r"the loss is nan at step 0 .*lower the learning rates"):
        pretrain(manifest, make_config(), tmp_path, progress=False)


def test_a_missing_text_is_told_by_row(manifest, make_config, tmp_path):
    config = make_config(data={"text": "text_fr"})
    with pytest.raises(ValueError, match=r"manifest.jsonl:1 .*no text under 'text_fr'"):
        pretrain(manifest, config, tmp_path, progress=False)
    assert not (tmp_path / "config.json").exists()


def test_a_batch_larger_than_the_split_is_refused(manifest, make_config, tmp_path):
    told = r"batch_size=100 is larger than the 18 training rows; lower it \(at least 2 rows"
    with pytest.raises(ValueError, match=told):
        pretrain(manifest, make_config(data={"batch_size": 100}), tmp_path, progress=False)
    assert not (tmp_path / "config.json").exists()


def test_a_tracker_gets_the_history(manifest, make_config, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = make_config(epochs=2, tracker="tensorboard")
    pretrain(manifest, config, tmp_path / "run", progress=False)
    history = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    (file,) = (tmp_path / "run").rglob("events.out.tfevents.*")
    tracked = events.EventAccumulator(str(file)).Reload()
    assert {"loss", "logit_scale", "validation_recall"} <= set(tracked.Tags()["scalars"])
    losses = [event.value for event in tracked.Scalars("loss")]
    assert losses == pytest.approx([json.loads(row)["loss"] for row in history])


def test_a_tracker_that_is_not_there_is_named(manifest, make_config, tmp_path):
    config = make_config(tracker="swanlab")
    with pytest.raises(ImportError, match="the tracker 'swanlab' is not installed"):
        pretrain(manifest, config, tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="nonsense"):
        pretrain(manifest, make_config(tracker="nonsense"), tmp_path / "run", progress=False)
