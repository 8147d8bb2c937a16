import shutil

import pytest
import torch

from selip_core.dual_encoder import DualEncoder
from selip_core.pretrained import ModelCard
from selip_core.recipes import load_model
from selip_core.recipes.model import build_model, save_model, without_paths

TEXTS = ["no lesion.", "high signal in the left pons."]


@pytest.fixture
def saved(make_config, text_encoder, tmp_path):
    """A model in its folder and what it makes of texts; its text encoder's folder is gone."""
    source = shutil.copytree(text_encoder, tmp_path / "training-machine")
    config = make_config(text_encoder={"name": str(source)})
    model = build_model(config).eval()
    save_model(tmp_path / "model", model, config, ModelCard())
    shutil.rmtree(source)
    with torch.no_grad():
        return tmp_path / "model", config, model.encode_text(TEXTS)


def test_a_model_is_loaded_from_its_folder_alone(saved, tmp_path):
    folder, config, features = saved
    model, loaded = load_model(folder.rename(tmp_path / "elsewhere"))
    text_encoder = config.text_encoder.model_copy(update={"name": "text_encoder"})
    assert loaded == config.model_copy(update={"text_encoder": text_encoder})
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(TEXTS), features, rtol=0, atol=0)


def test_it_is_a_folder_of_a_dual_encoder(saved):
    folder, config, features = saved
    model = DualEncoder.from_pretrained(folder)
    assert model.image_encoder.spec.spacing == config.data.spacing
    with torch.no_grad():
        assert torch.equal(model.encode_text(TEXTS), features)


def test_what_is_saved_is_safetensors_and_text_without_a_path(saved):
    folder, _, _ = saved
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"README.md", "model.safetensors", "config.json", "tokenizer.json"} <= names
    assert {name.rpartition(".")[2] for name in names} <= {"safetensors", "json", "txt", "md"}
    for path in files:
        assert b"training-machine" not in path.read_bytes()


def test_a_name_of_a_hub_stays_in_the_settings(make_config):
    config = make_config(text_encoder={"name": "owner/bert"})
    assert without_paths(config) == config


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
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: its SHA-256"):
        load_model(saved[0])


def test_a_model_that_no_run_made_is_told(saved):
    (saved[0] / "pretraining.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"pretraining\.json is missing; DualEncoder\.from"):
        load_model(saved[0])
