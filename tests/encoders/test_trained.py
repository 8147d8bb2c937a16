"""Weights by name: a file, a folder, a model of the hub; never a pickle."""

import json

import pytest
import torch
from safetensors.torch import save_file

from selip_core.digests import sealed
from selip_core.encoders import WeightsSource, create_image_encoder, saving
from selip_core.encoders.trained import find_weights
from selip_core.encoders.weights import load_weights
from selip_core.errors import DataError

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


def test_what_stands_beside_another_file_is_not_about_it(tmp_path, trained, caplog):
    trained.save_pretrained(tmp_path / "run")
    other = tmp_path / "run" / "other.safetensors"
    save_file(create_image_encoder("resnet10", **SMALL).state_dict(), other)
    encoder = create_image_encoder("resnet10", pooling="grid", pretrained=other, **SMALL)
    assert encoder.spec.weights.name == "selip"
    assert encoder.spec.spacing is None
    assert caplog.text == ""


def test_weights_of_ones_own_are_not_drawn_at_random(tmp_path):
    create_image_encoder("resnet10", **SMALL).save_pretrained(tmp_path / "model")
    encoder = create_image_encoder("resnet10", pretrained=tmp_path / "model", **SMALL)
    assert encoder.spec.weights.name == "selip"
    encoder.save_pretrained(tmp_path / "next")
    assert "license: other" in (tmp_path / "next" / "README.md").read_text(encoding="utf-8")


def test_nothing_but_the_encoder_is_built(tmp_path, trained, monkeypatch):
    trained.save_pretrained(tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(saving, "build", lambda settings: 1 / 0)
        encoder = create_image_encoder("resnet10", pretrained=tmp_path / "model", **SMALL)
    assert encoder.spec == trained.spec


def test_what_another_library_says_beside_the_weights_is_nothing_to_us(tmp_path, trained):
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "bert", "note": "not by \\"selip_core\\""}')
    encoder = create_image_encoder("resnet10", pretrained=tmp_path, **SMALL)
    assert same(encoder, trained)
    config.write_text("{")
    with pytest.raises(DataError, match=r"config\.json cannot be read"):
        create_image_encoder("resnet10", pretrained=tmp_path, **SMALL)


def test_damaged_weights_of_a_saved_folder_are_told(tmp_path, trained):
    trained.save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: its SHA-256 is"):
        create_image_encoder("resnet10", pretrained=tmp_path / "model", **SMALL)


def test_an_encoder_that_is_not_registered_here_gives_its_weights(tmp_path, trained, caplog):
    trained.save_pretrained(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    theirs = json.loads(config.read_text().replace('"resnet10"', '"theirs"'))
    config.write_text(json.dumps(sealed(theirs)))
    encoder = create_image_encoder("resnet10", pretrained=tmp_path / "model", **SMALL)
    assert same(encoder, trained)
    assert "name 'theirs' there and 'resnet10' here" in caplog.text


def test_a_revision_is_asked_of_the_hub(tmp_path, trained, monkeypatch):
    trained.save_pretrained(tmp_path / "model")
    asked = []

    def download(name, revision):
        asked.append((name, revision))
        return tmp_path / "model"

    monkeypatch.setattr("selip_core.pretrained.hub._download", download)
    encoder = create_image_encoder(
        "resnet10", pretrained="no-one/no-model", revision="5f0a1c2", **SMALL
    )
    assert same(encoder, trained)
    assert asked == [("no-one/no-model", "5f0a1c2")]


def test_a_revision_of_anything_else_is_refused(tmp_path, trained):
    trained.save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    for pretrained, told in [
        (weights, "is a file, which has no revision"),
        (tmp_path / "model", "is a folder, which has no revision"),
        (None, "revision is that of a model of the hub: name one as pretrained"),
    ]:
        with pytest.raises(ValueError, match=told):
            create_image_encoder("resnet10", pretrained=pretrained, revision="main", **SMALL)


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


@pytest.mark.parametrize("pretrained", [True, False])
def test_weights_are_named_and_not_asked_for(pretrained):
    with pytest.raises(ValueError, match=f"pretrained must be .* the hub, got {pretrained}: no "):
        create_image_encoder("resnet10", pretrained=pretrained, **SMALL)


def test_a_folder_is_loaded_as_its_file_is(tmp_path, trained):
    trained.save_pretrained(tmp_path / "model")
    encoder = create_image_encoder("resnet10", **SMALL)
    assert load_weights(encoder, tmp_path / "model").share == 1.0
    assert same(encoder, trained)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty must hold model\.safetensors, or one file"):
        load_weights(encoder, tmp_path / "empty")


def test_weights_of_timm_are_told_how_they_are_loaded(tmp_path):
    timm = pytest.importorskip("timm")
    path = tmp_path / "timm.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(ValueError, match=r"call encoder\.load_timm_weights\(file\)"):
        create_image_encoder("slicewise", model="test_resnet", pretrained=path)


def test_a_name_on_the_hub_that_cannot_be_reached_is_told(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"no-one/no-model.*HF_HUB_OFFLINE is set"):
        create_image_encoder("resnet10", pretrained="no-one/no-model")
