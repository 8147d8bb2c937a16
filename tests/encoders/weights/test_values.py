"""Values that no trained network has are refused by name, and nothing is loaded."""

import pytest
import torch
from safetensors.torch import save_file

from selip_core.encoders import ResNetEncoder, SliceEncoder, create_image_encoder
from selip_core.encoders.weights import WeightsError, load_weights


def small(**options):
    torch.manual_seed(0)
    return ResNetEncoder(10, embed_dim=6, width=1 / 16, **options)


@pytest.fixture
def trained():
    """Tensors as a run leaves them: running statistics and scales are not those of the start."""
    encoder = small().train()
    for parameter in encoder.parameters():
        parameter.data += torch.randn_like(parameter) / 20
    encoder(torch.randn(4, 1, 16, 32, 32))
    return encoder.state_dict()


def every(kind, change):
    return lambda tensors: {
        name: change(tensor) if kind in name and tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def first(tensor, value):
    tensor = tensor.clone()
    tensor.flatten()[0] = value
    return tensor


LAYER = "network.layer2.0.conv1.weight"
REFUSED = {
    "one NaN": (every(LAYER, lambda t: first(t, torch.nan)), rf"NaN or infinite: {LAYER}\n"),
    "one infinity": (every(LAYER, lambda t: first(t, -torch.inf)), rf"NaN or .*: {LAYER}\n"),
    "NaN throughout": (every("", lambda t: t * torch.nan), r"NaN or infinite: .* more\n.*diverged"),
    "NaN statistics": (
        every("layer1.0.bn1.running_var", lambda t: t * torch.nan),
        r"NaN or infinite: network.layer1.0.bn1.running_var\n",
    ),
    "negative variances": (
        every("bn2.running_var", lambda t: -t),
        r"negative variances: network.layer1.0.bn2.running_var, .*\n.*diverged",
    ),
    "a layer of zeros": (
        every(LAYER, torch.zeros_like),
        rf"all zero, which they are not in a new encoder: {LAYER}\n.*rank of sharded training",
    ),
    "zeros throughout": (every("", torch.zeros_like), r"all zero, .* more\n"),
    "no variance": (
        every("network.bn1.running_var", torch.zeros_like),
        r"all zero, .*: network.bn1.running_var\n",
    ),
    "no scale on the way of all features": (
        every("network.bn1.weight", torch.zeros_like),
        r"all zero, so that the features are the same for every input: network.bn1.weight\n",
    ),
    "quantised values as floats": (
        every("weight", lambda t: (t * 100).round()),
        r"whole numbers throughout, .*: network.conv1.weight, .*\n.*dequantise it first",
    ),
    "float64 beyond float32": (
        every(LAYER, lambda t: t.double() * 1e300),
        rf"too large or too small for the type of the encoder: {LAYER}\n.*float32",
    ),
    "float64 below float32": (every(LAYER, lambda t: t.double() * 1e-60), rf"too .*: {LAYER}\n"),
}


def assert_refused(encoder, path, message, **options):
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    spec = encoder.spec
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(encoder, path, **options)
    assert "so nothing was loaded" in str(caught.value)
    assert encoder.spec == spec
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_values_of_no_network_are_refused(save, trained, change, message):
    assert_refused(small(), save(change(trained)), f"(?s){message}")


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.int8, "int8"),
        (torch.uint8, "uint8"),
        (torch.int64, "int64"),
        (torch.bool, "bool"),
        (torch.float8_e4m3fn, "float8_e4m3fn"),
        (torch.complex64, "complex64"),
    ],
)
@pytest.mark.parametrize("kind", [LAYER, "bn1.running_mean", "weight"])
def test_other_types_than_floating_point_are_refused(save, trained, dtype, name, kind):
    path = save(every(kind, lambda tensor: (tensor * 100).to(dtype))(trained))
    assert_refused(small(), path, rf"not floating point: .*\({name}\)[^$]*dequantise it first")
    assert_refused(small(in_channels=2), path, rf"not floating point: .*\({name}\)")


def test_packed_weights_are_known_as_quantised(save, trained):
    packed = trained.pop(LAYER)
    path = save(trained | {f"{LAYER}_packed": packed.to(torch.uint8)})
    assert_refused(small(), path, rf"not floating point: {LAYER}_packed \(uint8\)")


def test_a_narrower_encoder_takes_no_values_beyond_its_type(save, trained):
    trained[LAYER] *= 1e7
    path = save(trained)
    assert_refused(small().half(), path, rf"too large or too small .*: {LAYER}\n.*load into it in")
    assert load_weights(small(), path).share == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_of_any_width_is_loaded(save, trained, dtype):
    tensors = every("", lambda tensor: tensor.to(dtype))(trained)
    encoder = small()
    load_weights(encoder, save(tensors))
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, tensors[name].to(tensor.dtype))


LEGITIMATE = {
    "scales of residual branches": every("bn2.weight", torch.zeros_like),
    "all biases": every("bias", torch.zeros_like),
    "means that were never trained": every("running_mean", torch.zeros_like),
    "counts as floats": lambda tensors: {
        name: tensor.float() if "num_batches" in name else tensor
        for name, tensor in tensors.items()
    },
    "one kernel": every(LAYER, lambda t: torch.cat([torch.zeros_like(t[:1]), t[1:]])),
    "most values, as of pruned networks": every(LAYER, lambda t: t * (torch.rand_like(t) < 0.1)),
    "kernels of ones": every(LAYER, lambda t: t.sign()),
}


@pytest.mark.parametrize("change", LEGITIMATE.values(), ids=LEGITIMATE)
@pytest.mark.parametrize("training", [False, True])
def test_what_may_be_zero_is_loaded(save, trained, change, training):
    tensors, encoder = change(trained), small().train(training)
    encoder.freeze(1)
    modes = [module.training for module in encoder.modules()]
    assert load_weights(encoder, save(tensors)).share == 1.0
    assert [module.training for module in encoder.modules()] == modes
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, tensors[name].to(tensor.dtype))


def test_counts_that_are_none_are_refused(save, trained):
    trained["network.bn1.num_batches_tracked"] = torch.tensor(2.5)
    assert_refused(small(), save(trained), "counts that are no whole numbers: network.bn1.num")
    trained["network.bn1.num_batches_tracked"] = torch.tensor(torch.nan)
    assert_refused(small(), save(trained), "NaN or infinite: network.bn1.num_batches_tracked")


def test_what_starts_at_zero_may_be_zero(save, trained):
    """As residual branches do whose last layer is zero at first."""
    encoder = small()
    torch.nn.init.zeros_(encoder.get_parameter(LAYER))
    assert load_weights(encoder, save(every(LAYER, torch.zeros_like)(trained))).share == 1.0


def test_tables_of_relative_positions_may_be_zero(save):
    encoder = create_image_encoder("swin_tiny", embed_dim=6, width=0.25)
    zero = every("relative_position_bias_table", torch.zeros_like)(encoder.state_dict())
    assert load_weights(encoder, save(zero)).share == 1.0


def test_heads_are_not_looked_at(save, trained):
    rest = {"text_encoder.weight": torch.tensor([torch.nan]), "log_logit_scale": torch.zeros(1)}
    assert load_weights(small(), save(trained | rest)).share == 1.0


def test_weights_of_an_encoder_by_name_are_looked_at_too(save, trained):
    path = save(every(LAYER, lambda tensor: tensor * torch.nan)(trained))
    with pytest.raises(WeightsError, match=f"NaN or infinite: {LAYER}"):
        create_image_encoder("resnet10", embed_dim=6, width=1 / 16, pretrained=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t * torch.nan, r"NaN or infinite: network\.layer2"),
        (torch.zeros_like, r"all zero, .*: network\.layer2"),
        (lambda t: (t * 100).to(torch.int8), r"not floating point: layer2\S* \(int8\)"),
    ],
)
def test_weights_of_2d_images_are_looked_at_too(tmp_path, change, message):
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_resnet")
    tensors = every("layer2.0.conv1.weight", change)(network.state_dict())
    save_file(tensors, tmp_path / "slices.safetensors")
    encoder = SliceEncoder("test_resnet", embed_dim=6)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        encoder.load_timm_weights(tmp_path / "slices.safetensors")
    assert encoder.spec.weights is None
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
