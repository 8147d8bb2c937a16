"""Runs that start from weights: what they keep of them, and that they need the file once."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from selip_core.encoders import create_image_encoder
from selip_core.recipes import load_model, pretrain
from selip_core.recipes.model import build_model, without_paths
from selip_core.recipes.training import Trainer

OPTIONS = {"width": 0.125, "stem": "cubic"}
LICENCE = {"licence": "CC-BY-4.0", "url": "https://example.org"}


@pytest.fixture
def weights_file(tmp_path):
    """Weights of the image encoder of the runs here; the header tells licence and spacing."""
    torch.manual_seed(5)
    encoder = create_image_encoder("resnet10", embed_dim=8, **OPTIONS)
    path = tmp_path / "started-from.safetensors"
    save_file(encoder.state_dict(), path, LICENCE | {"spacing": "[8, 8, 8]"})
    return path


def stop_after(monkeypatch, step):
    take_step = Trainer.step

    def step_then_stop(self, batch):
        loss = take_step(self, batch)
        if self.position.step == step:
            raise KeyboardInterrupt
        return loss

    monkeypatch.setattr(Trainer, "step", step_then_stop)


def test_a_run_needs_the_file_once(
    manifest, make_config, tmp_path, weights_file, monkeypatch, weights, assert_same_weights
):
    settings = {"pretrained": str(weights_file), "freeze_stages": 2}
    config = make_config(epochs=2, image_encoder=settings, optimizer={"layer_decay": 0.5})
    pretrain(manifest, config, tmp_path / "straight", progress=False)
    with monkeypatch.context() as patch:
        stop_after(patch, step=4)  # a checkpoint is there from the third
        with pytest.raises(KeyboardInterrupt):
            pretrain(manifest, config, tmp_path / "stopped", progress=False)
    start = load_file(weights_file)
    weights_file.unlink()
    pretrain(manifest, config, tmp_path / "stopped", resume=True, progress=False)

    trained = weights(tmp_path / "stopped")
    assert_same_weights(weights(tmp_path / "straight"), trained)
    for name, kept in (("conv1", True), ("layer1.0.conv1", True), ("layer2.0.conv1", False)):
        before = start[f"network.{name}.weight"]
        assert torch.equal(trained[f"image_encoder.network.{name}.weight"], before) is kept, name
    for run in ("straight", "stopped"):
        model, loaded = load_model(tmp_path / run)
        assert model.image_encoder.spec.weights.licence == "CC-BY-4.0"
        assert loaded.image_encoder.pretrained == "started-from.safetensors"
        card = (tmp_path / run / "model" / "README.md").read_text(encoding="utf-8")
        assert "CC-BY-4.0" in card
        assert str(tmp_path) not in card


def test_a_run_goes_on_from_the_model_of_another(manifest, make_config, tmp_path, recwarn):
    pretrain(manifest, make_config(steps=2), tmp_path / "first", progress=False)
    settings = {"pretrained": str(tmp_path / "first" / "model"), "pooling": "attention"}
    model = build_model(make_config(image_encoder=settings))
    first, _ = load_model(tmp_path / "first")
    for name, tensor in first.image_encoder.network.state_dict().items():
        assert torch.equal(model.image_encoder.network.state_dict()[name], tensor), name
    assert not [each for each in recwarn if "know other volumes" in str(each.message)]


def test_other_volumes_than_the_weights_know_are_told(make_config, weights_file):
    config = make_config(
        image_encoder={"pretrained": str(weights_file)}, data={"spacing": (4, 4, 4)}
    )
    with pytest.warns(UserWarning, match=r"spacing: \(8, 8, 8\) mm there, \(4, 4, 4\) mm here"):
        model = build_model(config)
    assert model.image_encoder.spec.spacing == (4, 4, 4)


def test_what_does_not_fit_is_refused(make_config, weights_file):
    settings = {"pretrained": str(weights_file), "options": OPTIONS | {"stem": "paper"}}
    with pytest.raises(ValueError, match="'cubic' have that of the file"):
        build_model(make_config(image_encoder=settings))
    settings = {"pretrained": str(weights_file), "freeze_stages": 9}
    with pytest.raises(ValueError, match=r"stages must be .*from 0 to 5, got 9"):
        build_model(make_config(image_encoder=settings))


@pytest.mark.parametrize(
    ("pretrained", "kept"),
    [
        ("owner/model", "owner/model"),
        ("/home/anna/weights.safetensors", "weights.safetensors"),
        ("../gone.safetensors", "gone.safetensors"),
        ("runs/first/model", "model"),
    ],
)
def test_no_path_of_weights_is_saved(make_config, pretrained, kept):
    config = without_paths(make_config(image_encoder={"pretrained": pretrained}))
    assert config.image_encoder.pretrained == kept


def test_adapters_and_chunks_train_and_resume(
    manifest, make_config, tmp_path, monkeypatch, weights, assert_same_weights
):
    pytest.importorskip("peft")
    settings = {
        "frozen": False,
        "lora": {"rank": 2, "target_modules": ("query", "value")},
        "chunking": {"overlap": 1, "max_chunks": 3},
        "max_length": 6,
        "pooling": "auto",
        "gradient_checkpointing": True,
    }
    config = make_config(
        epochs=2, text_encoder=settings, image_encoder={"gradient_checkpointing": True}
    )
    pretrain(manifest, config, tmp_path / "straight", progress=False)
    with monkeypatch.context() as patch:
        stop_after(patch, step=4)
        with pytest.raises(KeyboardInterrupt):
            pretrain(manifest, config, tmp_path / "stopped", progress=False)
    pretrain(manifest, config, tmp_path / "stopped", resume=True, progress=False)
    trained = weights(tmp_path / "stopped")
    assert_same_weights(weights(tmp_path / "straight"), trained)
    learned = [name for name in trained if "lora_B" in name]
    assert learned
    assert all(trained[name].any() for name in learned)
    checkpoint = max((tmp_path / "stopped" / "checkpoint").glob("step-*/tensors.safetensors"))
    assert not [name for name in load_file(checkpoint) if name.endswith("word_embeddings.weight")]
    model, _ = load_model(tmp_path / "stopped")
    assert (model.text_encoder.pooling, model.text_encoder.max_length) == ("cls", 6)
    assert model.text_encoder.tokenize.chunking.max_chunks == 3
    assert json.loads((tmp_path / "stopped" / "config.json").read_text())["text_encoder"]["lora"]


def test_a_pooling_takes_its_options(make_config):
    settings = {"pooling": "grid", "pooling_options": {"grid": [1, 2, 3]}}
    model = build_model(make_config(image_encoder=settings))
    assert model.image_encoder.settings.pooling == ("grid", {"grid": (1, 2, 3)})


def test_a_revision_reaches_the_hub(make_config, monkeypatch, weights_file):
    asked = []

    def find(pretrained, revision):
        asked.append((pretrained, revision))
        return weights_file

    monkeypatch.setattr("selip_core.encoders.creation.find_weights", find)
    settings = {"pretrained": "owner/model", "revision": "v2"}
    build_model(make_config(image_encoder=settings))
    assert asked == [("owner/model", "v2")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_encoder": {"pooling": "cls"}},
            "image_encoder cannot be made: pooling 'cls' needs",
        ),
        (
            {"image_encoder": {"pooling": "attention", "pooling_options": {"heads": 0}}},
            "image_encoder cannot be made: heads must be",
        ),
        (
            {"image_encoder": {"name": "vit_small", "options": {}}, "data": {"size": (16, 16, 20)}},
            r"data\.size does not suit image_encoder\.name: .*nearest right shape",
        ),
    ],
)
def test_what_cannot_be_made_is_told_before_data_is_read(make_config, tmp_path, changes, message):
    config = make_config(**changes)
    with pytest.raises(ValueError, match=message):
        pretrain(tmp_path / "no-manifest.jsonl", config, tmp_path / "run", progress=False)
