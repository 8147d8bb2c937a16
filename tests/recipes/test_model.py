import shutil

import pytest
import torch

from selip_core.recipes import load_model
from selip_core.recipes.model import build_model, save_model

TEXTS = ["no lesion.", "high signal in the left pons."]


@pytest.fixture
def saved(make_config, text_encoder, tmp_path):
    """A model in its folder and what it makes of texts; its text encoder's folder is gone."""
    source = shutil.copytree(text_encoder, tmp_path / "training-machine")
    config = make_config(text_encoder={"name": str(source)})
    model = build_model(config).eval()
    save_model(tmp_path / "model", model, config)
    shutil.rmtree(source)
    with torch.no_grad():
        return tmp_path / "model", config, model.encode_text(TEXTS)


def test_a_model_is_loaded_from_its_folder_alone(saved, tmp_path):
    folder, config, features = saved
    model, loaded = load_model(folder.rename(tmp_path / "elsewhere"))
    assert loaded == config
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(TEXTS), features, rtol=0, atol=0)


def test_what_is_saved_is_safetensors_and_text_without_a_path(saved):
    folder, _, _ = saved
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert {name.rpartition(".")[2] for name in names} <= {"safetensors", "json", "txt"}
    for path in (folder / "text_encoder").rglob("*.*"):
        assert "training-machine" not in path.read_text()


def test_loading_draws_nothing_from_the_global_generator(saved):
    before = torch.get_rng_state()
    load_model(saved[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_text_encoder_is_told(saved):
    shutil.rmtree(saved[0] / "text_encoder")
    with pytest.raises(OSError, match=r"no text encoder can be loaded from .*text_encoder'"):
        load_model(saved[0])


def test_damaged_weights_are_told(saved):
    weights = saved[0] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or of another model"):
        load_model(saved[0])
