import pytest
import torch
from safetensors.torch import save_file

from selip_core.encoders import SliceEncoder, create_image_encoder, list_image_encoders
from selip_core.encoders.slicewise import BY_NAME

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


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_pyramid_is_as_its_spec_says(timm, model):
    encoder = SliceEncoder(model).to("meta")
    spec = encoder.spec
    size = (3, 2 * spec.divisor[1], 3 * spec.divisor[2])
    maps = encoder.forward_features(torch.empty(1, 1, *size, device="meta"))
    assert [m.shape[1] for m in maps] == list(spec.stage_channels)
    assert [tuple(m.shape[2:]) for m in maps] == spec.stage_sizes(size)


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_stages_hold_every_parameter_once(timm, model):
    encoder = SliceEncoder(model)
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
    with pytest.raises(ValueError, match=r"must be a file of safetensors, got .*slices.pth"):
        encoder.load_timm_weights(tmp_path / "slices.pth")


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
        ({"model": "coat_tiny"}, "timm gives no feature maps of coat_tiny"),
        ({"attention_heads": 7}, "heads must divide the 96 channels, got 7"),
        ({"slices_at_once": 0}, "slices_at_once must be 1 or more, or None, got 0"),
    ],
)
def test_refuses_impossible_options(small, options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_sizes_that_do_not_divide_are_told_the_nearest(small):
    with pytest.raises(ValueError, match=r"nearest right shape is \(2, 1, 5, 64, 96\)"):
        small()(volumes(size=(5, 60, 100)))


def test_without_timm_it_is_listed_and_tells_what_to_install(hide_package):
    hide_package("timm")
    assert "slicewise" in list_image_encoders()
    with pytest.raises(ImportError, match=r'pip install "selip-core\[timm\]"'):
        create_image_encoder("slicewise")
