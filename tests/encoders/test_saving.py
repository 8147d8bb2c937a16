"""Image encoders from a folder: the same to the last bit, or told what is wrong."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from selip_core.digests import sealed
from selip_core.encoders import (
    GridPooling,
    ImageEncoder,
    ResNetEncoder,
    WeightsSource,
    create_image_encoder,
    register_image_encoder,
    registry,
)
from selip_core.pretrained import ModelCard

SOURCE = WeightsSource("medicalnet", "MIT", "https://github.com/Tencent/MedicalNet")


@pytest.fixture
def encoder(create_small):
    return create_small("resnet10", stem="cubic").eval()


def volumes(encoder):
    size = encoder.spec.nearest_size(tuple(2 * voxels for voxels in encoder.spec.minimum_size))
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1))


def require_same(ours, theirs):
    """Require the same tensors in the same layout, and the same embeddings, bit by bit."""
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert state[name].dtype == value.dtype
        assert state[name].stride() == value.stride(), name
        assert torch.equal(state[name], value), name
    with torch.no_grad():
        x = volumes(theirs).to(next(theirs.parameters()).dtype)
        assert torch.equal(ours(x), theirs.eval()(x))


def test_round_trip_is_exact(create_small, name, tmp_path):
    encoder = create_small(name)
    encoder.save_pretrained(tmp_path / "encoder")
    again = ImageEncoder.from_pretrained(tmp_path / "encoder")
    assert not again.training
    assert again.settings == encoder.settings
    assert again.spec == encoder.spec
    require_same(again, encoder)


@pytest.mark.parametrize("pooling", ["attention", "gem", "grid"])
def test_poolings_by_name_come_back(create_small, pooling, tmp_path):
    encoder = create_small("resnet10", pooling=pooling)
    encoder.save_pretrained(tmp_path / "encoder")
    require_same(ImageEncoder.from_pretrained(tmp_path / "encoder"), encoder)


def test_a_pooling_with_options_comes_back(create_small, tmp_path):
    encoder = create_small("resnet10", pooling=("grid", {"grid": (1, 2, 2)}))
    encoder.save_pretrained(tmp_path / "encoder")
    again = ImageEncoder.from_pretrained(tmp_path / "encoder")
    assert again.settings == encoder.settings
    require_same(again, encoder)
    card = (tmp_path / "encoder" / "README.md").read_text(encoding="utf-8")
    assert "pooling grid (grid: 1 x 2 x 2), " in card


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_types_are_kept(encoder, dtype, tmp_path):
    encoder.to(dtype).save_pretrained(tmp_path / "encoder")
    require_same(ImageEncoder.from_pretrained(tmp_path / "encoder"), encoder)


def test_channels_last_is_kept_where_it_was(encoder, tmp_path):
    encoder.network.layer1.to(memory_format=torch.channels_last_3d)
    encoder.network.conv1.to(memory_format=torch.channels_last_3d)  # one channel: both layouts hold
    assert encoder.network.conv1.weight.stride(1) == 1
    encoder.save_pretrained(tmp_path / "encoder")
    require_same(ImageEncoder.from_pretrained(tmp_path / "encoder"), encoder)


def test_the_weights_that_were_trained_are_saved(encoder, tmp_path):
    encoder.train()(torch.randn(2, 1, 32, 32, 32))  # moves the running statistics
    with torch.no_grad():
        encoder.pooling.projection.weight.mul_(2)
    encoder.save_pretrained(tmp_path / "encoder")
    require_same(ImageEncoder.from_pretrained(tmp_path / "encoder"), encoder)


def test_origin_spacing_and_intensity_are_inherited(encoder, tmp_path):
    encoder.spec = replace(
        encoder.spec, weights=SOURCE, spacing=(3.0, 1.0, 1.0), intensity="0 to 1"
    )
    encoder.save_pretrained(tmp_path / "encoder", ModelCard(data="400 studies"))
    assert ImageEncoder.from_pretrained(tmp_path / "encoder").spec == encoder.spec
    card = (tmp_path / "encoder" / "README.md").read_text(encoding="utf-8")
    assert "license: mit\n" in card
    assert "medicalnet (MIT), https://github.com/Tencent/MedicalNet" in card
    assert "3 x 1 x 1 mm" in card
    assert "400 studies" in card


def test_the_card_tells_the_smallest_volumes(encoder, tmp_path):
    encoder.spec = replace(encoder.spec, minimum_size=(2, 4, 4), normalized_map=0)
    encoder.save_pretrained(tmp_path / "encoder")
    stride = " x ".join(map(str, encoder.spec.stage_strides[0]))
    card = (tmp_path / "encoder" / "README.md").read_text(encoding="utf-8")
    assert f"at least 2 x 4 x 4, multiples of 1 x 1 x 1, above {stride} along an axis" in card


def test_what_is_about_training_stays_out(encoder, tmp_path):
    encoder.freeze(2)
    encoder.gradient_checkpointing = True
    encoder.save_pretrained(tmp_path / "encoder")
    again = ImageEncoder.from_pretrained(tmp_path / "encoder")
    assert all(parameter.requires_grad for parameter in again.parameters())
    assert not again.gradient_checkpointing


def test_loading_draws_nothing_from_the_global_generator(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "encoder")
    before = torch.get_rng_state()
    ImageEncoder.from_pretrained(tmp_path / "encoder")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_class_can_be_asked_for(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "encoder")
    assert isinstance(ResNetEncoder.from_pretrained(tmp_path / "encoder"), ResNetEncoder)

    class Other(ImageEncoder):
        pass

    with pytest.raises(ValueError, match="holds a ResNetEncoder, no Other"):
        Other.from_pretrained(tmp_path / "encoder")


@pytest.mark.usefixtures("own_registry")
def test_an_encoder_of_another_package_comes_back_by_its_name(tmp_path):
    @register_image_encoder("theirs")
    def theirs(in_channels, embed_dim, pooling, grid):
        made = partial(GridPooling, grid=grid)
        return ResNetEncoder(10, in_channels, embed_dim, made, stem="cubic", width=1 / 16)

    encoder = create_image_encoder("theirs", embed_dim=3, pooling="grid", grid=(1, 2, 1))
    encoder.save_pretrained(tmp_path / "encoder")
    again = ImageEncoder.from_pretrained(tmp_path / "encoder")
    assert again.settings.options == {"grid": (1, 2, 1)}
    require_same(again, encoder)


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


@pytest.mark.usefixtures("own_registry")
def test_an_encoder_that_is_not_registered_here_is_told(create_small, tmp_path):
    create_small("resnet18").save_pretrained(tmp_path / "encoder")
    del registry._ENTRIES["resnet18"]
    with pytest.raises(ValueError, match="no image encoder is named 'resnet18'"):
        ImageEncoder.from_pretrained(tmp_path / "encoder")


def test_a_pooling_without_a_name_is_refused(create_small, tmp_path):
    encoder = create_small("resnet10", pooling=partial(GridPooling, grid=(1, 2, 2)))
    with pytest.raises(ValueError, match=r"pooling made by a function .* register an encoder"):
        encoder.save_pretrained(tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_was_not_made_by_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"not made by name.*create_image_encoder"):
        ResNetEncoder(10, width=1 / 16).save_pretrained(tmp_path / "encoder")


def test_an_encoder_with_another_part_is_refused_when_it_is_saved(encoder, tmp_path):
    encoder.pooling = GridPooling(encoder.spec.stage_channels[-1], 6)
    with pytest.raises(ValueError, match=r"no longer what 'resnet10' makes: pooling\.projection"):
        encoder.save_pretrained(tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "embed_dims",
            3,
            r"config\.json \$\.model\.embed_dims: unknown key; did you mean 'embed_d",
        ),
        ("embed_dim", None, r"\$\.model\.embed_dim: Field required"),
        ("options", {"wide": 2}, r"options\.wide: unknown; did you mean 'width'\?"),
        ("trained_on", {"spacings": 1}, r"trained_on\.spacings: unknown key"),
    ],
)
def test_a_changed_configuration_is_told(encoder, tmp_path, key, value, message):
    encoder.save_pretrained(tmp_path / "encoder")
    path = tmp_path / "encoder" / "config.json"
    config = json.loads(path.read_text())
    if value is None:
        del config["model"][key]
    else:
        config["model"][key] = value
    path.write_text(json.dumps(sealed(config)))
    with pytest.raises(ValueError, match=message):
        ImageEncoder.from_pretrained(tmp_path / "encoder")
