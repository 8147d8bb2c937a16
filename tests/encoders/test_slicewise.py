import json
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from selip_core.digests import sealed
from selip_core.encoders import (
    SliceEncoder,
    WeightsSource,
    create_image_encoder,
    list_image_encoders,
    timm_network,
)
from selip_core.encoders.slicewise import BY_NAME
from selip_core.encoders.timm_network import require_maps_as_described

ARCHITECTURES = [
    "test_convnext",
    "test_efficientnet",
    "test_resnet",
    "test_vit",
    "densenet121",
    "mambaout_femto",  # maps with channels last
    "swin_tiny_patch4_window7_224",
    "vit_small_patch14_dinov2",
]


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm")


@pytest.fixture
def small(timm):
    def create(model="test_resnet", **options):
        torch.manual_seed(0)
        return SliceEncoder(model, embed_dim=6, **options).eval()

    return create


@pytest.fixture(scope="module", params=ARCHITECTURES)
def without_numbers(timm, request):
    """An encoder on the device "meta", made once: drawing its weights takes longest."""
    return SliceEncoder(request.param).to("meta")


def volumes(batch=2, channels=1, size=(5, 64, 96)):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(0))


def test_maps_are_those_of_every_slice(small):
    encoder = small(attention_layers=0)
    x = volumes()
    with torch.no_grad():
        maps = encoder.forward_features(x)
        for index in range(5):
            for ours, expected in zip(maps, encoder.network(x[:, :, index]), strict=True):
                torch.testing.assert_close(ours[:, :, index], expected, rtol=1e-4, atol=1e-5)


def test_pyramid_is_as_its_spec_says(without_numbers):
    encoder = without_numbers
    spec = encoder.spec
    size = (3, 2 * spec.divisor[1], 3 * spec.divisor[2])
    maps = encoder.forward_features(torch.empty(1, 1, *size, device="meta"))
    assert [m.shape[1] for m in maps] == list(spec.stage_channels)
    assert [tuple(m.shape[2:]) for m in maps] == spec.stage_sizes(size)


def test_stages_hold_every_parameter_once(without_numbers):
    encoder = without_numbers
    held = [id(p) for stage in encoder.stages() for part in stage for p in part.parameters()]
    expected = {id(p) for p in encoder.parameters()} - {id(p) for p in encoder.pooling.parameters()}
    assert len(held) == len(set(held))
    assert set(held) == expected
    assert len(encoder.stages()) == len(encoder.spec.stage_channels) + 1


def test_freezing_goes_from_the_first_slice_layers_on(small):
    encoder = small().freeze(2).train()
    free = {name.split(".")[1] for name, p in encoder.named_parameters() if p.requires_grad}
    assert {"layer2", "layer3", "layer4", "attention"} <= free
    assert not {"conv1", "bn1", "layer1"} & free
    assert not encoder.network.bn1.training
    assert encoder.network.layer2.training


def test_slices_see_each_other_in_the_coarsest_map_only(small):
    encoder = small()
    x = volumes(batch=1)
    other = x.clone()
    other[:, :, 0] += 1
    with torch.no_grad():
        before, after = encoder.forward_features(x), encoder.forward_features(other)
    for ours, theirs in zip(before[:-1], after[:-1], strict=True):
        torch.testing.assert_close(ours[:, :, 1:], theirs[:, :, 1:], rtol=0, atol=0)
    assert not torch.allclose(before[-1][:, :, 4], after[-1][:, :, 4], atol=1e-4)


def test_slices_know_where_they_are(small):
    encoder = small()
    x = volumes(batch=1)
    with torch.no_grad():
        apart = (encoder(x) - encoder(x.flip(2))).abs().max()
        alone = small(attention_layers=0)
        torch.testing.assert_close(alone(x), alone(x.flip(2)), rtol=1e-4, atol=1e-5)
    assert apart > 1e-4


@pytest.mark.parametrize("slices_at_once", [1, 3, 100])
def test_chunks_change_nothing(small, slices_at_once):
    x = volumes()
    with torch.no_grad():
        actual = small(slices_at_once=slices_at_once)(x)
        torch.testing.assert_close(actual, small()(x), rtol=1e-4, atol=1e-5)


def test_chunks_with_checkpointing_have_the_same_gradients(small):
    gradients = []
    for checkpointing in (False, True):
        encoder = small(slices_at_once=4).train()
        encoder.gradient_checkpointing = checkpointing
        encoder(volumes()).square().sum().backward()
        gradients.append([p.grad for p in encoder.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "options"),
    # timm lets each residual branch of a ResNet start at 0.
    [("test_resnet", {"zero_init_last": False}), ("test_vit", {}), ("test_convnext", {})],
)
def test_gradients_reach_every_parameter(small, model, options):
    encoder = small(model, model_options=options).train()
    encoder(volumes()).square().sum().backward()
    without = [k for k, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("pooling", ["attention", "gem", "grid"])
def test_every_pooling_takes_the_map(small, pooling):
    assert small(pooling=pooling)(volumes()).shape == (2, 6)


@pytest.mark.parametrize(("classes", "given"), [(1000, None), (7, 7), (0, 0)])
def test_takes_weights_of_2d_images(timm, small, tmp_path, classes, given):
    torch.manual_seed(1)
    trained = timm.create_model("test_resnet", num_classes=classes).eval()
    save_file(trained.state_dict(), tmp_path / "slices.safetensors")
    encoder = small(in_channels=1, attention_layers=0)
    assert encoder.load_timm_weights(tmp_path / "slices.safetensors", given) is encoder
    x = volumes()
    with torch.no_grad():
        colours = x[:, :, 2].expand(-1, 3, -1, -1)
        expected = trained.forward_intermediates(colours, intermediates_only=True)
        for ours, theirs in zip(encoder.forward_features(x), expected, strict=True):
            torch.testing.assert_close(ours[:, :, 2], theirs, rtol=1e-3, atol=1e-4)


def test_weights_of_another_model_are_refused(timm, small, tmp_path):
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "slices.safetensors")
    encoder = small("test_convnext")
    with pytest.raises(ValueError, match=r"slices.safetensors does not fit timm's test_convnext"):
        encoder.load_timm_weights(tmp_path / "slices.safetensors")
    with pytest.raises(ValueError, match=r"(?s)does not fit timm's test_resnet: .*Unexpected key"):
        small("test_resnet").load_timm_weights(tmp_path / "slices.safetensors", classes=0)
    with pytest.raises(ValueError, match=r"must be a file of safetensors, got .*slices.npz"):
        encoder.load_timm_weights(tmp_path / "slices.npz")
    with pytest.raises(FileNotFoundError, match=r"^there is no file .*missing\.safetensors$"):
        encoder.load_timm_weights(tmp_path / "missing.safetensors")


def test_weights_of_a_file_are_told_in_the_spec(timm, small, tmp_path):
    tensors = timm.create_model("test_resnet").state_dict()
    save_file(tensors, tmp_path / "ours.safetensors")
    spec = small().load_timm_weights(tmp_path / "ours.safetensors").spec
    assert spec.weights == WeightsSource("ours.safetensors", "not told by the file", "")
    told = {"licence": "MIT", "url": "https://example.org"}
    save_file(tensors, tmp_path / "told.safetensors", told)
    spec = small().load_timm_weights(tmp_path / "told.safetensors").spec
    assert spec.weights == WeightsSource("told.safetensors", "MIT", "https://example.org")


@pytest.mark.parametrize(
    ("channels", "intensity"),
    [
        (1, "values from 0 to 1, less 0.449, divided by 0.226"),
        (3, "values from 0 to 1, less 0.485, 0.456, 0.406, divided by 0.229, 0.224, 0.225"),
    ],
)
def test_what_timm_publishes_is_downloaded_as_safetensors(
    timm, small, tmp_path, monkeypatch, channels, intensity
):
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "model.safetensors")
    asked = []

    def download(name, file, **options):
        asked.append((name, file))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    encoder = small("resnet10t", in_channels=channels)
    before = encoder.network.conv1[0].weight.clone()
    spec = encoder.load_timm_weights().spec
    assert asked == [("timm/resnet10t.c3_in1k", "model.safetensors")]
    assert not torch.equal(encoder.network.conv1[0].weight, before)
    url = "https://huggingface.co/timm/resnet10t.c3_in1k"
    assert spec.weights == WeightsSource("timm/resnet10t.c3_in1k", "apache-2.0", url)
    assert spec.intensity == intensity


def test_the_card_tells_of_timm_weights(timm, tmp_path):
    encoder = create_image_encoder("slicewise", model="test_resnet")
    told = {"licence": "CC-BY-NC-4.0", "url": "https://example.org"}
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "a.safetensors", told)
    encoder.load_timm_weights(tmp_path / "a.safetensors").save_pretrained(tmp_path / "encoder")
    card = (tmp_path / "encoder" / "README.md").read_text()
    assert "a.safetensors (CC-BY-NC-4.0), https://example.org" in card
    assert "license: cc-by-nc-4.0" in card


def test_what_timm_does_not_publish_as_safetensors_is_told(small):
    wrong = r"no weights of legacy_seresnet18 as safetensors: name a file"
    with pytest.raises(ValueError, match=wrong):
        small("legacy_seresnet18").load_timm_weights()


def test_weights_that_timm_reads_otherwise_fit_from_a_file(timm, small, tmp_path):
    # Of vit_small, timm takes a file to be one of numpy.
    narrow = {"embed_dim": 48, "num_heads": 2, "depth": 3}
    trained = timm.create_model("vit_small_patch16_224", **narrow)
    save_file(trained.state_dict(), tmp_path / "slices.safetensors")
    encoder = small("vit_small_patch16_224", attention_heads=2, model_options=narrow)
    encoder.load_timm_weights(tmp_path / "slices.safetensors")
    ours = encoder.network.state_dict()["model.blocks.0.attn.qkv.weight"]
    assert torch.equal(ours, trained.blocks[0].attn.qkv.weight)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def pickled(tmp_path):
    """Return a pickled file, and the file that unpickling it would make."""
    torch.save({"state_dict": Touch(tmp_path / "touched")}, tmp_path / "slices.pth")
    return tmp_path / "slices.pth", tmp_path / "touched"


@pytest.mark.parametrize("name", ["slices.pth", "slices.safetensors"])
def test_pickled_weights_are_refused(small, pickled, tmp_path, name):
    pickle, touched = pickled
    pickle.rename(tmp_path / name)
    with pytest.raises(ValueError, match=r"is pickled.*`selip convert-weights slices"):
        small().load_timm_weights(tmp_path / name)
    assert not touched.exists()


def unsafe_options(pickle):
    """Return what makes timm read a pickled file or ask the network."""
    file = {"url": "", "file": str(pickle)}
    return {
        "checkpoint_path": str(pickle),
        "pretrained_cfg_overlay": file,
        "pretrained_cfg": file,
        "pretrained": True,
        "cache_dir": str(pickle.parent),
        "features_only": False,
        "in_chans": 7,
        "scriptable": True,
        "exportable": True,
        "feature_cls": "fx",
        "pruned": True,
    }


@pytest.mark.parametrize("option", unsafe_options(Path("slices.pth")))
def test_a_saved_folder_cannot_make_timm_read_elsewhere(timm, pickled, tmp_path, option):
    pickle, touched = pickled
    create_image_encoder("slicewise", model="test_resnet").save_pretrained(tmp_path / "encoder")
    config = tmp_path / "encoder" / "config.json"
    values = json.loads(config.read_text())
    unsafe = unsafe_options(pickle)
    values["model"]["options"]["model_options"] = {"pretrained": True, option: unsafe[option]}
    config.write_text(json.dumps(sealed(values)))
    with pytest.raises(ValueError, match=f"model_options can be .*, got .*{option}"):
        SliceEncoder.from_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match=f"got {option}; weights of timm are loaded by"):
        create_image_encoder("slicewise", model_options={option: unsafe[option]})
    assert not touched.exists()


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:timm/resnet18.a1_in1k",
        "hf_hub:timm/resnet18.a1_in1k",
        "local-dir:/tmp/model",
        "owner/resnet18",
        "resnet18.hf-hub:owner/model",
        "resnet18.unknown",
    ],
)
def test_only_models_of_timm_itself_are_made(small, name):
    with pytest.raises(ValueError, match=rf"timm .* has no model '{name}'"):
        small(name)


def test_an_option_of_another_model_is_told(small):
    with pytest.raises(ValueError, match=r"timm's test_resnet does not take .* 'window_size'"):
        small(model_options={"window_size": 7})


def test_a_model_is_named_by_its_weights_too(small):
    assert small("test_resnet.r160_in1k").spec == small("test_resnet").spec


def test_common_models_have_names(timm):
    names = ["slicewise", *sorted(BY_NAME)]
    assert list_image_encoders("slicewise*") == names
    with torch.device("meta"):
        for name, model in BY_NAME.items():
            assert create_image_encoder(name)._model.name == model
    encoder = create_image_encoder("slicewise", model="test_vit", slices_at_once=2)
    assert encoder.settings.options == {"model": "test_vit", "slices_at_once": 2}


def test_options_of_timm_go_through(timm, small):
    encoder = small("test_resnet", model_options={"out_indices": (2, 4)})
    assert encoder.spec.stage_strides == ((1, 8, 8), (1, 32, 32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet19"}, "timm .* has no model 'resnet19'"),
        ({"model": "pit_ti_224"}, "pit_ti_224 takes images of one size only"),
        ({"attention_heads": 7}, "heads must divide the 96 channels, got 7"),
        ({"attention_layers": -1}, "attention_layers must be 0 or more, got -1"),
        ({"slices_at_once": 0}, "slices_at_once must be 1 or more, or None, got 0"),
    ],
)
def test_refuses_impossible_options(small, options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize("model", ["coat_tiny", "crossvit_tiny_240", "convit_tiny"])
def test_what_timm_gives_no_maps_of_is_refused(timm, small, model):
    """Which models these are changes with timm's release, so timm is asked."""
    try:
        with torch.device("meta"):
            timm.create_model(model, features_only=True)
        message = f"{model} takes images of one size only"
    except RuntimeError:
        message = f"timm gives no feature maps of {model}: choose another"
    with pytest.raises(ValueError, match=message):
        small(model)


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), NotImplementedError(), AttributeError("forward_intermediates")]
)
def test_a_model_without_maps_is_known_whatever_timm_says(error):
    def create_model(name, features_only=False, **_):
        if features_only or name == "broken":
            raise error
        return torch.nn.Identity()

    timm = SimpleNamespace(create_model=create_model)
    with pytest.raises(ValueError, match="timm gives no feature maps of flat: choose another"):
        timm_network._create(timm, "flat", {"features_only": True})
    with pytest.raises(type(error)):
        timm_network._create(timm, "broken", {"features_only": True})


def test_maps_that_are_not_as_described_are_refused(timm, small):
    network = timm.create_model("test_resnet", features_only=True)
    require_maps_as_described("test_resnet", network, 3)
    assert network.training
    network.feature_info.info[network.feature_info.out_indices[-1]]["num_chs"] += 1
    told = r"maps of timm's test_resnet are not as timm describes them: of an image of 64 x 64 .*97"
    with pytest.raises(ValueError, match=told):
        require_maps_as_described("test_resnet", network, 3)


def test_sizes_that_do_not_divide_are_told_the_nearest(small):
    with pytest.raises(ValueError, match=r"nearest right shape is \(2, 1, 5, 64, 96\)"):
        small()(volumes(size=(5, 60, 100)))


def test_without_timm_it_is_listed_and_tells_what_to_install(hide_package):
    hide_package("timm")
    assert "slicewise" in list_image_encoders()
    with pytest.raises(ImportError, match=r'pip install "selip-core\[timm\]"'):
        create_image_encoder("slicewise")


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'torchvision'", name="torchvision"),
        RuntimeError("operator torchvision::nms does not exist"),
    ],
)
def test_without_a_torchvision_that_fits_it_tells_what_to_install(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(timm_network, "require", fail)
    told = rf'{error}.*: pip install "selip-core\[timm\]" and the torchvision of torch '
    with pytest.raises(ImportError, match=told) as caught:
        create_image_encoder("slicewise")
    assert caught.value.name == "torchvision"


def test_other_errors_of_timm_are_its_own(monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(timm_network, "require", fail)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        create_image_encoder("slicewise")


def test_training_on_one_value_is_refused_whatever_the_chunks(small):
    x = torch.randn(1, 1, 3, 32, 32)
    small().train()(x)
    told = r"^SliceEncoder normalises over .* one slice, the last of 3 by slices_at_once=2, whose "
    with pytest.raises(ValueError, match=told + ".*: choose slices_at_once such that more slices"):
        small(slices_at_once=2).train()(x)
    with pytest.raises(ValueError, match=r"one slice, the last of 3 by slices_at_once=1, whose"):
        small(slices_at_once=1).train().check_input(x)
    with pytest.raises(ValueError, match=r"one volume whose .*: give more volumes"):
        small(slices_at_once=2).train()(x[:, :, :1])
    small(slices_at_once=3).train()(x)
    small(slices_at_once=2)(x)
