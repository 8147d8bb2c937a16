"""Damaged and hostile config.json: told by file and key, and nothing is built but what is named."""

import json

import pytest
import torch

from selip_core.digests import sealed
from selip_core.encoders import ImageEncoder, ResNetEncoder, register_image_encoder, registry
from selip_core.encoders.saving import _shapes
from selip_core.errors import DataError


@pytest.fixture
def saved(create_small, tmp_path):
    """Return a folder with an encoder, and a function that changes what is told of it."""
    create_small("resnet10", stem="cubic").save_pretrained(tmp_path / "encoder")
    path = tmp_path / "encoder" / "config.json"

    def change(**model):
        config = json.loads(path.read_text(encoding="utf-8"))
        config["model"] |= model
        path.write_text(json.dumps(sealed(config)), encoding="utf-8")

    return tmp_path / "encoder", change


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"name": "os.system"}, "", "no image encoder is named 'os.system'"),
        ({"name": ["resnet10"]}, ".name", "valid string"),
        ({"in_channels": 0}, ".in_channels", "must be at least 1"),
        ({"in_channels": True}, ".in_channels", "valid integer"),
        ({"in_channels": "1"}, ".in_channels", "valid integer"),
        ({"embed_dim": 8.0}, ".embed_dim", "valid integer"),
        ({"embed_dim": -3}, ".embed_dim", "must be at least 1"),
        ({"embed_dim": "many"}, ".embed_dim", "valid integer"),
        ({"embed_dim": 10**30}, "", "no image_encoder can be made of it"),
        ({"options": {"width": "wide"}}, ".options.width", "valid number"),
        ({"options": {"width": [1, 2]}}, ".options.width", "valid number"),
        ({"options": {"width": 1e12}}, "", "no image_encoder can be made of it"),
        ({"options": {"stages": {"a": [None]}}}, ".options.stages", "valid integer"),
        ({"options": {"stem": "eval"}}, "", "no image_encoder can be made of it"),
        ({"options": [1]}, ".options", "valid dictionary"),
        ({"pooling": "eval"}, "", "pooling"),
        ({"pooling": ["grid", {"grid": "x"}]}, "", "no image_encoder can be made of it"),
        ({"trained_on": None}, ".trained_on", ""),
    ],
)
def test_what_cannot_be_built_is_told_by_file_and_key(saved, changes, place, message):
    folder, change = saved
    change(**changes)
    with pytest.raises(DataError, match=message) as caught:
        ImageEncoder.from_pretrained(folder)
    (places, *_) = {problem.where for problem in caught.value.problems}
    assert places.startswith(f"{folder / 'config.json'} $.model{place}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "cannot be read"),
        ('{"a": ' * 40 + "1" + "}" * 40, "may be nested 32 deep"),
        ('{"format": NaN}', "NaN and Infinity are not JSON"),
        ('{"format": 1' + "0" * 5000 + "}", "cannot be read"),
    ],
)
def test_rubbish_is_told(saved, text, message):
    folder, _ = saved
    (folder / "config.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        ImageEncoder.from_pretrained(folder)
    assert caught.value.problems[0].where.startswith(str(folder / "config.json"))


@pytest.mark.parametrize("kind", ["os.system", "eval", 3, None, ["image_encoder"]])
def test_no_kind_is_built_that_is_not_registered(saved, kind):
    folder, change = saved
    change(kind=kind)
    with pytest.raises(ValueError, match="holds no ImageEncoder but a model of kind"):
        ImageEncoder.from_pretrained(folder)


def test_saving_draws_no_second_encoder(create_small, monkeypatch, tmp_path):
    devices = set()

    def spy(*arguments, **options):
        devices.add(torch.get_default_device().type)
        return ResNetEncoder(10, *arguments, width=1 / 16, **options)

    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    register_image_encoder("spy")(spy)
    encoder = registry.build(registry.ImageEncoderSettings("spy", embed_dim=3))
    devices.clear()
    encoder.save_pretrained(tmp_path / "encoder")
    assert devices == {"meta"}


def test_an_encoder_that_cannot_be_made_without_values_is_saved_all_the_same(monkeypatch, tmp_path):
    def reads(in_channels, embed_dim, pooling):
        assert torch.ones(1).item() == 1
        return ResNetEncoder(10, in_channels, embed_dim, pooling, width=1 / 16)

    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    register_image_encoder("reads")(reads)
    encoder = registry.build(registry.ImageEncoderSettings("reads", embed_dim=3))
    before = torch.get_rng_state()
    encoder.save_pretrained(tmp_path / "encoder")
    assert torch.equal(torch.get_rng_state(), before)
    assert ImageEncoder.from_pretrained(tmp_path / "encoder").embed_dim == 3


@pytest.mark.parametrize("name", ["resnet18", "vit_small", "swin_tiny", "efficientnet_b0"])
def test_encoders_tell_their_shapes_without_drawing(create_small, name):
    encoder = create_small(name)
    shapes = {key: tensor.shape for key, tensor in encoder.state_dict().items()}
    assert _shapes(encoder.settings) == shapes
