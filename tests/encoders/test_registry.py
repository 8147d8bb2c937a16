import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import nn

from selip_core.encoders import (
    GridPooling,
    ImageEncoderSettings,
    ResNetEncoder,
    create_image_encoder,
    list_image_encoders,
    register_image_encoder,
    registry,
)
from selip_core.encoders.weights import WEIGHT_FORMATS


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


def test_lists_by_pattern_shallow_before_deep():
    names = [f"resnet{depth}" for depth in (10, 18, 34, 50, 101, 152, 200)]
    assert list_image_encoders("resnet[0-9]*[0-9]") == names
    assert list_image_encoders("resnet1?") == ["resnet10", "resnet18"]
    assert list_image_encoders("nothing*") == []


@pytest.mark.usefixtures("own_registry")
def test_lists_families_together_and_smaller_numbers_first():
    for name in ("a_net", "znet20", "znet3", "zzz"):
        register_image_encoder(name)(lambda **options: None)
    names = list_image_encoders()
    assert (names[0], names[-3:]) == ("a_net", ["znet3", "znet20", "zzz"])


def test_unknown_name_is_told_close_matches():
    with pytest.raises(ValueError, match=r"named 'resnet51'; did you mean .*resnet50"):
        create_image_encoder("resnet51")


def test_name_like_no_other_may_be_that_of_a_package_which_is_missing():
    told = r"named '0000'; list_image_encoders\(\) tells all\. If another package .* may be missing"
    with pytest.raises(ValueError, match=told):
        create_image_encoder("0000")


def test_unknown_option_is_told_those_allowed():
    wrong = r"wrong options of resnet10: wide: unknown.*'width'\?; steam: unknown.*'stem'\?\. "
    with pytest.raises(ValueError, match=wrong + r"Its .* are \['stem', 'stages', 'width'\]$"):
        create_image_encoder("resnet10", wide=2, steam="paper")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet10", {"stages": 2.0, "width": "a"}, r"stages: .* integer; width: .* number\. "),
        ("resnet10", {"stages": True}, "stages: Input should be a valid integer"),
        ("vit_small", {"dropout": "a"}, "dropout: Input should be a valid number"),
        ("swin_tiny", {"depths": 2}, "depths: Input should be .*Sequence"),
        ("resenc_unet", {"features_per_stage": 5}, "features_per_stage: Input should be "),
        ("segresnet", {"blocks": 3}, "blocks: Input should be "),
        ("slicewise", {"model": None}, "model: Input should be a valid string"),
        ("slicewise", {"model_options": 3}, "model_options: Input should be "),
        ("resnet10", {"pooling": ("gem", {"power": "x"})}, "'gem': power: .* valid number"),
    ],
)
def test_options_of_other_types_are_told_by_name(name, options, message):
    with pytest.raises(ValueError, match=f"wrong options of .*{message}"):
        create_image_encoder(name, **options)


def test_numbers_of_numpy_and_whole_ones_are_numbers():
    options = {"stages": np.int64(2), "width": np.float32(1 / 16)}
    encoder = create_image_encoder("resnet10", **options)
    assert encoder.settings.to_json()["options"] == {"stages": 2, "width": 1 / 16}
    with torch.device("meta"):
        assert create_image_encoder("resnet10", width=1).settings.options == {"width": 1}


@pytest.mark.usefixtures("own_registry")
def test_factories_may_annotate_as_they_like():
    @register_image_encoder("mine")
    def build(
        in_channels,
        embed_dim,
        pooling,
        widths: list[int] = (),
        steps: "list[tuple[int, int]]" = (),
        weight: Float[torch.Tensor, "a b"] = None,
        act: type[nn.Module] = nn.ReLU,
        later: "NotDefinedYet" = 1,
        rubbish: "no expression" = 1,
        number: 3 = 3,
        none: float = None,  # noqa: RUF013
        file: Path = Path("a"),
        scale: "float" = 1.0,
        **options: str,
    ):
        return ResNetEncoder(10, in_channels, embed_dim, pooling, width=1 / 16)

    given = {
        "widths": [1, 2],
        "steps": [(1, 2)],
        "weight": torch.zeros(1, 2),
        "act": nn.GELU,
        "later": "a",
        "rubbish": "b",
        "number": 4,
        "none": None,
        "file": "b",
        "scale": 2,
        "options": 5,
    }
    assert create_image_encoder("mine", embed_dim=3, **given).embed_dim == 3
    with pytest.raises(ValueError, match=r"wrong options of mine: widths: .*; scale: .* number"):
        create_image_encoder("mine", widths=["a"], scale="b")


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    ("factory", "missing"),
    [
        (lambda in_channels, embed_dim: None, "pooling"),
        (lambda pooling, /, embed_dim, *in_channels: None, "in_channels, pooling"),
        (lambda: None, "in_channels, embed_dim, pooling"),
    ],
)
def test_what_does_not_take_the_common_keywords_is_refused(factory, missing):
    with pytest.raises(ValueError, match=f"'mine' is called with .* does not take {missing}$"):
        register_image_encoder("mine")(factory)
    assert list_image_encoders("mine") == []
    register_image_encoder("mine")(lambda **any_options: None)


@pytest.mark.usefixtures("own_registry")
def test_registers_what_users_bring():
    @register_image_encoder("mine")
    def build(in_channels, embed_dim, pooling, *, depth):
        return ResNetEncoder(depth, in_channels, embed_dim, pooling, width=1 / 16)

    assert list_image_encoders("mi*") == ["mine"]
    encoder = create_image_encoder("mine", 3, 64, "grid", depth=18)
    assert (encoder.spec.in_channels, encoder.embed_dim) == (3, 64)
    assert isinstance(encoder.pooling, GridPooling)
    assert build(1, 2, "avg", depth=10).embed_dim == 2


@pytest.mark.usefixtures("own_registry")
def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="'resnet10' is already registered"):
        register_image_encoder("resnet10")(lambda: None)


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("name", ["", "a/b", " a", 3, None])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match=r"must be letters, digits, .* as in 'resnet50', got "):
        register_image_encoder(name)


def test_a_decorator_without_a_name_is_refused():
    with pytest.raises(ValueError, match=r'write @register_image_encoder\("mine"\) above the enc'):

        @register_image_encoder
        def Mine(in_channels, embed_dim, pooling):  # noqa: N802
            """Never made."""


def test_weights_are_names_and_no_text():
    with pytest.raises(ValueError, match=r"must be a sequence of names, such as \('medicalnet',\)"):
        register_image_encoder("mine", "medicalnet")


@pytest.mark.parametrize("name", [None, 50, ["resnet50"]])
def test_only_a_text_names_an_encoder(name):
    with pytest.raises(ValueError, match="name of an image encoder must be a text, got "):
        create_image_encoder(name)


def test_a_pooling_in_the_place_of_the_channels_is_told():
    with pytest.raises(ValueError, match=r"in_channels must be a whole number .*, got 'avg'"):
        create_image_encoder("resnet10", "avg")


def test_names_are_known_without_loading_networks():
    code = (
        "import sys, selip_core.encoders as e, selip_core.dual_encoder, selip_core.text;"
        "assert e.list_image_encoders();"
        "assert not {'monai', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("own_registry")
def test_an_installed_package_offers_its_encoders(tmp_path, monkeypatch):
    """A package on the path with an entry point, as pip would install it."""
    (tmp_path / "plugin_encoders.py").write_text(
        "from selip_core.encoders import ResNetEncoder, register_image_encoder\n"
        "@register_image_encoder('plugin_net')\n"
        "def plugin_net(in_channels, embed_dim, pooling):\n"
        "    return ResNetEncoder(10, in_channels, embed_dim, pooling, width=1 / 16)\n"
    )
    information = tmp_path / "plugin-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[selip_core.image_encoders]\nplugin = plugin_encoders\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._load_plugins.cache_clear()
    assert create_image_encoder("plugin_net", embed_dim=3).embed_dim == 3
    assert list_image_encoders("plugin*") == ["plugin_net"]


@pytest.mark.usefixtures("own_registry")
def test_a_broken_package_is_told_and_hides_no_other_encoder(tmp_path, monkeypatch):
    (tmp_path / "broken_encoders.py").write_text("raise RuntimeError('no licence')\n")
    information = tmp_path / "broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[selip_core.image_encoders]\nbroken = broken_encoders\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._load_plugins.cache_clear()
    with pytest.warns(UserWarning, match="of broken_encoders could not be loaded: Runt"):
        assert "resnet50" in list_image_encoders()


@pytest.mark.usefixtures("own_registry")
def test_only_encoders_are_given():
    register_image_encoder("linear")(lambda in_channels, embed_dim, pooling: nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"'linear' must make an ImageEncoder, got .*Linear"):
        create_image_encoder("linear")


@pytest.mark.usefixtures("own_registry")
def test_a_factory_may_take_any_option():
    @register_image_encoder("any")
    def build(in_channels, embed_dim, pooling, **options):
        return ResNetEncoder(10, in_channels, embed_dim, pooling, **options)

    assert create_image_encoder("any", width=1 / 16, stages=2).spec.stage_channels == (4, 4, 8)


def test_pretrained_lists_those_that_published_weights_fit():
    fitting = list_image_encoders(pretrained=True)
    assert list_image_encoders("resnet?0", pretrained=True) == ["resnet10", "resnet50"]
    assert list_image_encoders("vit_*", pretrained=True) == ["vit_base"]
    assert list_image_encoders("slice*", pretrained=True) == list_image_encoders("slice*")
    for name in list_image_encoders():
        assert (name in fitting) == bool(registry.published_weights(name))
        formats = {"timm"} if name.startswith("slicewise") else set(WEIGHT_FORMATS)
        assert set(registry.published_weights(name)) <= formats


def test_settings_are_kept_and_told_in_json():
    encoder = create_image_encoder("resnet10", 2, 8, "gem", width=1 / 16, stages=2)
    told = json.loads(json.dumps(encoder.settings.to_json()))
    assert told == {
        "name": "resnet10",
        "in_channels": 2,
        "embed_dim": 8,
        "pooling": "gem",
        "options": {"width": 1 / 16, "stages": 2},
    }
    assert ImageEncoderSettings.from_json(told) == encoder.settings


def test_settings_keep_tuples():
    settings = ImageEncoderSettings("vit_small", options={"patch_size": (4, 16, 16)})
    assert ImageEncoderSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_settings_hold_a_pooling_with_options():
    settings = ImageEncoderSettings("resnet10", pooling=("grid", {"grid": [2, 4, 4]}))
    told = json.loads(json.dumps(settings.to_json()))
    assert told["pooling"] == ["grid", {"grid": [2, 4, 4]}]
    assert ImageEncoderSettings.from_json(told) == settings
    assert settings.pooling == ("grid", {"grid": (2, 4, 4)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ImageEncoderSettings("a", pooling=("b", {"c": nn.ReLU})), "options of a cannot be told"),
        (ImageEncoderSettings("a", pooling=GridPooling), "made by a function .*cannot be told"),
        (ImageEncoderSettings("a", options={"act": nn.ReLU()}), "options of a cannot be told"),
        (ImageEncoderSettings("a", options={"width": float("nan")}), "options of a cannot be told"),
    ],
)
def test_settings_that_json_cannot_hold_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        settings.to_json()
