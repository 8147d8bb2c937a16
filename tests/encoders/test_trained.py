"""Weights by name: a file, a folder, a model of the hub; never a pickle."""

import pytest
import torch
from safetensors.torch import save_file

from selip_core.encoders import WeightsSource, create_image_encoder
from selip_core.encoders.trained import find_weights

SMALL = {"embed_dim": 6, "width": 1 / 16}


@pytest.fixture
def trained():
    torch.manual_seed(3)
    encoder = create_image_encoder("resnet10", **SMALL)
    source = WeightsSource("medicalnet", "MIT", "https://example.org")
    encoder.spec = type(encoder.spec)(
        **(vars(encoder.spec) | {"spacing": (4.0, 1.0, 1.0), "weights": source})
    )
    return encoder


def same(a, b):
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in a.state_dict().items())


def test_a_file(tmp_path, trained, caplog):
    caplog.set_level("INFO")
    save_file(trained.state_dict(), tmp_path / "any.safetensors")
    encoder = create_image_encoder("resnet10", pretrained=tmp_path / "any.safetensors", **SMALL)
    assert same(encoder, trained)
    assert "parameters (100.0 %)" in caplog.text


def test_a_saved_folder_tells_what_was_trained_on(tmp_path, trained, caplog):
    trained.save_pretrained(tmp_path / "model")
    encoder = create_image_encoder("resnet10", pretrained=tmp_path / "model", **SMALL)
    assert same(encoder, trained)
    assert encoder.training
    assert encoder.spec == trained.spec
    assert caplog.text == ""


def test_another_pooling_and_more_channels_start_from_the_same_network(tmp_path, trained):
    trained.save_pretrained(tmp_path / "model")
    encoder = create_image_encoder(
        "resnet10", 2, pooling="attention", pretrained=str(tmp_path / "model"), **SMALL
    )
    assert encoder.spec.in_channels == 2
    ours, theirs = encoder.network.state_dict(), trained.network.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs if key != "conv1.weight")


def test_another_network_that_fits_is_told(tmp_path, trained, caplog):
    trained.save_pretrained(tmp_path / "model")
    encoder = create_image_encoder(
        "resnet10", pooling="grid", stem="medicalnet", pretrained=tmp_path / "model", **SMALL
    )
    assert encoder.spec.stage_strides != trained.spec.stage_strides
    assert "pooling 'avg' there and 'grid' here, stem 'paper' there and 'medical" in caplog.text
    assert "ImageEncoder.from_pretrained makes it as it was" in caplog.text


def test_too_little_that_fits_is_refused(tmp_path, trained):
    trained.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"likely cause: another .* kind of block"):
        create_image_encoder("resnet50", pretrained=tmp_path / "model", **SMALL)


def test_a_folder_with_one_file_of_any_name(tmp_path):
    (tmp_path / "backbone.safetensors").touch()
    assert find_weights(tmp_path) == tmp_path / "backbone.safetensors"
    (tmp_path / "head.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"or one file .* holds \['backbone.*', 'head"):
        find_weights(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert find_weights(str(tmp_path)) == tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", ["resnet_50.pth", "m.pt", "pytorch_model.bin", "last.CKPT"])
def test_pickles_are_refused_whether_there_or_not(tmp_path, name):
    with pytest.raises(ValueError, match=r"is pickled.*selip convert-weights"):
        create_image_encoder("resnet10", pretrained=tmp_path / name)


@pytest.mark.parametrize("name", ["missing.safetensors", "nowhere", "a/b/c"])
def test_what_is_not_there_is_told(name):
    with pytest.raises(FileNotFoundError, match=f"there is no f.* {name}"):
        find_weights(name)


def test_a_name_on_the_hub_that_cannot_be_reached_is_told(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"no-one/no-model.*HF_HUB_OFFLINE is set"):
        create_image_encoder("resnet10", pretrained="no-one/no-model")
