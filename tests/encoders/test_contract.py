"""What every registered image encoder must do, for cubes and for few thick slices.

``name`` stands for one or two encoders of each family, small: a new one gets a line in FAMILIES of
``conftest.py``. ``any_name`` stands for every encoder as it is.
"""

import re

import pytest
import torch
from torch import nn

from selip_core.encoders import ClassTokenPooling, create_image_encoder, list_image_encoders
from selip_core.encoders.pooling import POOLINGS, create_pooling

cubes_and_slices = pytest.mark.parametrize("thin", [False, True], ids=["cube", "slices"])

# By shell pattern of a family, the last in the order of list_image_encoders.
LARGEST = {
    list_image_encoders(pattern)[-1]
    for pattern in (
        "densenet*",
        "efficientnet_*",
        "mednext_*",
        "resenc_*",
        "resnet*",
        "segresnet*",
        "seresnet*",
        "slicewise*",
        "swin_*",
        "vit_*",
    )
}
SHALLOW = {
    "swin_tiny": {"depths": (2, 1, 1, 1)},
    "resnet50": {"stages": 2},
    "resenc_unet": {"strides": (1, 2, 2), "n_blocks_per_stage": (1, 1, 1)},
    "segresnet": {"blocks": (1, 1)},
}
"""What to compile fewer blocks of: one stage with a shifted window tells as much as four."""


def size_for(spec, thin=False):
    """An odd size, unlike along each axis, whose coarsest map has several voxels."""
    wanted = [stride + 1 for stride in spec.stage_strides[-1]]
    wanted = [max(17, wanted[0]), max(25, wanted[1]), max(33, wanted[2])]
    if thin:
        wanted[0] = 5
        wanted[2] += spec.stage_strides[-1][2] // 2
    axes = zip(wanted, spec.minimum_size, spec.divisor, strict=True)
    return tuple(max(low, by * -(-want // by)) for want, low, by in axes)


def volumes(encoder, thin=False, batch=2, seed=1):
    size = (batch, encoder.spec.in_channels, *size_for(encoder.spec, thin))
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def gradients(encoder):
    return {key: parameter.grad for key, parameter in encoder.named_parameters()}


# --- every encoder as it is, without numbers --------------------------------------------------


def test_has_a_small_form(any_name, small_options):
    assert small_options(any_name) is not None, f"give {any_name} a line in FAMILIES of conftest.py"


def test_default_form_is_as_its_spec_says(any_name):
    try:
        with torch.device("meta"):
            encoder = create_image_encoder(any_name, in_channels=2)
    except ImportError as error:
        pytest.skip(str(error))
    spec = encoder.spec
    assert (spec.in_channels, encoder.embed_dim) == (2, 512)
    if any_name in LARGEST:  # smaller ones run the same code with fewer blocks
        size = size_for(spec)
        maps = encoder.forward_features(torch.empty(3, 2, *size, device="meta"))
        assert [m.shape[1] for m in maps] == list(spec.stage_channels)
        assert [tuple(m.shape[2:]) for m in maps] == spec.stage_sizes(size)
    assert spec.parameter_count == sum(p.numel() for p in encoder.parameters())
    everything = [id(p) for p in encoder.parameters()]
    held = [id(p) for stage in encoder.stages() for module in stage for p in module.parameters()]
    assert sorted(held + [id(p) for p in encoder.pooling.parameters()]) == sorted(everything)


# --- one or two of each family, small ---------------------------------------------------------


@cubes_and_slices
def test_embeds(create_small, name, thin):
    encoder = create_small(name)
    with torch.no_grad():
        embedding = encoder(volumes(encoder, thin))
    assert embedding.shape == (2, encoder.embed_dim)
    assert embedding.isfinite().all()
    assert not torch.allclose(embedding[0], embedding[1])


@cubes_and_slices
def test_maps_are_as_the_spec_says(create_small, name, thin):
    encoder = create_small(name)
    x = volumes(encoder, thin)
    with torch.no_grad():
        maps = encoder.forward_features(x)
    assert [m.shape[1] for m in maps] == list(encoder.spec.stage_channels)
    assert [tuple(m.shape[2:]) for m in maps] == encoder.spec.stage_sizes(x.shape[2:])


def test_smallest_volume_is_embedded(create_small, name):
    encoder = create_small(name).eval()
    smallest = encoder.spec.nearest_size(encoder.spec.minimum_size)
    x = torch.randn(1, 1, *smallest)
    with torch.no_grad():
        assert encoder(x).isfinite().all()


def test_smallest_volume_is_trained_on_or_refused_clearly(create_small, name):
    encoder = create_small(name)
    x = torch.randn(1, 1, *encoder.spec.nearest_size(encoder.spec.minimum_size))
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules()):
        assert encoder(x).isfinite().all()
        return
    with pytest.raises(ValueError, match=f"^{name} normalises over the batch in training, and one"):
        encoder(x)
    encoder.freeze(len(encoder.stages()))(x).sum().backward()
    assert encoder.freeze(0)(x.expand(2, -1, -1, -1, -1)).isfinite().all()


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda x: x.numpy(), r"must be a tensor, got .*numpy.* torch.from_numpy\(array\).float"),
        (lambda x: x.short(), r"torch.float32, as the weights are, got torch.int16: .* \.float\("),
        (lambda x: x.double(), r"torch.float32, as the weights are, got torch.float64: .*float\("),
    ],
    ids=["numpy", "integers", "float64"],
)
def test_takes_floats_alone(create_small, name, convert, message):
    encoder = create_small(name)
    with pytest.raises(ValueError, match=message):
        encoder(convert(volumes(encoder)))


def test_computes_in_float64(create_small, name):
    encoder = create_small(name).eval()
    x = volumes(encoder, thin=True, batch=1)
    with torch.no_grad():
        low, high = encoder(x), encoder.double()(x.double())
    torch.testing.assert_close(high.float(), low, rtol=1e-3, atol=1e-4)


def test_settings_make_it_again(create_small, name):
    encoder = create_small(name, pooling="grid")
    settings = type(encoder.settings).from_json(encoder.settings.to_json())
    with torch.device("meta"):
        again = create_image_encoder(**settings.arguments())
    shapes = {key: value.shape for key, value in encoder.state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes
    assert again.settings == encoder.settings


def test_gradients_reach_every_parameter(create_small, name):
    encoder = create_small(name)
    encoder(volumes(encoder)).square().sum().backward()
    without = [key for key, grad in gradients(encoder).items() if grad is None or not grad.any()]
    assert without == []


def test_takes_every_pooling_of_maps(create_small, name):
    encoder = create_small(name)
    x = volumes(encoder, thin=True)
    with torch.no_grad():
        coarsest = encoder.forward_features(x)[-1]
    for pooling in sorted(POOLINGS.keys() - {"cls"}):
        with torch.device("meta"):
            made = create_small(name, pooling=pooling).pooling
        assert isinstance(made, POOLINGS[pooling])
        pool = create_pooling(pooling, coarsest.shape[1], encoder.embed_dim)
        assert {key: p.shape for key, p in made.named_parameters()} == {
            key: p.shape for key, p in pool.named_parameters()
        }
        pool(coarsest).square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in pool.parameters())


def test_class_token_is_pooled_or_refused(create_small, name):
    if not name.startswith("vit_"):
        message = "'cls' needs a class token, which this encoder has"
        with pytest.raises(ValueError, match=message), torch.device("meta"):
            create_small(name, pooling="cls")
        return
    encoder = create_small(name, pooling="cls")
    encoder(volumes(encoder, thin=True)).square().sum().backward()
    assert all(grad is not None and grad.any() for grad in gradients(encoder).values())
    assert isinstance(encoder.pooling, ClassTokenPooling)


def test_eval_is_deterministic_and_each_volume_stands_alone(create_small, name):
    encoder = create_small(name).eval()
    x = volumes(encoder, batch=3)
    with torch.no_grad():
        together = encoder(x)
        torch.testing.assert_close(encoder(x), together, rtol=0, atol=0)
        alone = torch.cat([encoder(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_state_dict_round_trip(create_small, name):
    trained = create_small(name)
    x = volumes(trained)
    trained(x)  # moves running statistics
    fresh = create_small(name)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.add_(1)
    fresh.load_state_dict(trained.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fresh.eval()(x), trained.eval()(x), rtol=0, atol=0)


def test_refuses_what_its_spec_forbids(create_small, name):
    encoder = create_small(name)
    x = volumes(encoder)
    nearest = re.escape(f"the nearest right shape is {tuple(x.shape)}")
    with pytest.raises(ValueError, match=nearest):
        encoder(x.expand(2, 3, *x.shape[2:]))
    with pytest.raises(ValueError, match=r"volumes must have shape \(batch, 1, depth"):
        encoder.forward_features(x[0])


@pytest.mark.parametrize("option", ["in_channels", "embed_dim"])
def test_refuses_to_be_of_nothing(small_options, name, option):
    options = small_options(name) | {option: 0}
    with pytest.raises(ValueError, match=f"{option} must be a whole number of at least 1, got 0"):
        create_image_encoder(name, **options)


def test_autocast_gives_nearly_the_same(create_small, name):
    encoder = create_small(name).eval()
    x = volumes(encoder, thin=True, batch=1)  # bfloat16 is slow on CPUs
    # Without oneDNN: on processors without AMX its bfloat16 gradient of a plain conv3d with one
    # input channel and a 7x7x7 kernel is not finite for volumes of these sizes (torch 2.13).
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", dtype=torch.bfloat16):
        low = encoder(x.bfloat16())
        low.float().square().sum().backward()
    assert all(grad.isfinite().all() for grad in gradients(encoder).values())
    with torch.no_grad():
        exact = encoder(x)
    assert low.dtype == torch.bfloat16
    assert (low - exact).norm() < 0.05 * exact.norm()


def test_channels_last_gives_the_same(create_small, name):
    encoder = create_small(name).eval()
    if any(isinstance(module, nn.Conv2d) for module in encoder.modules()):
        pytest.skip("2D convolutions take another format")
    x = volumes(encoder)
    with torch.no_grad():
        expected = encoder(x)
        encoder.to(memory_format=torch.channels_last_3d)
        got = encoder(x.to(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_compiles_to_one_graph(create_small, name):
    encoder = create_small(name, **SHALLOW.get(name, {})).eval()
    x = volumes(encoder)
    torch.compiler.reset()
    with torch.no_grad():
        got = torch.compile(encoder, backend="eager", fullgraph=True)(x)
        torch.testing.assert_close(got, encoder(x), rtol=1e-4, atol=1e-5)


def test_frozen_stages_stay_as_they_are(create_small, name):
    encoder = create_small(name).freeze(2)
    frozen = nn.ModuleList(module for stage in encoder.stages()[:2] for module in stage)
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    encoder.train()(volumes(encoder)).square().sum().backward()
    still = {id(parameter) for parameter in frozen.parameters()}
    for parameter in encoder.parameters():
        assert (parameter.grad is None) == (id(parameter) in still)
    for key, value in frozen.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    for wrong in (-1, len(encoder.stages()) + 1, 1.0, "1"):
        with pytest.raises(ValueError, match=f"stages must be a whole number from 0 .*{wrong!r}"):
            encoder.freeze(wrong)
    encoder.freeze(0)
    assert all(module.training for module in encoder.modules())
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def test_checkpointing_changes_memory_alone(create_small, name):
    kept, results = [], []
    for checkpointing in (False, True):
        encoder = create_small(name)
        encoder.gradient_checkpointing = checkpointing
        x = volumes(encoder)
        torch.manual_seed(2)  # of dropout
        saved = SavedBytes()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
            loss = encoder(x).square().sum()
        loss.backward()
        kept.append(saved.total())
        results.append(gradients(encoder) | dict(encoder.named_buffers()))
    assert kept[1] < 0.8 * kept[0]
    for key, value in results[0].items():
        torch.testing.assert_close(results[1][key], value, rtol=0, atol=0, msg=key)


class SavedBytes:
    """Counts what autograd keeps for the backward pass, each storage once."""

    def __init__(self):
        self.sizes = {}

    def pack(self, tensor):
        storage = tensor.untyped_storage()
        self.sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    def total(self):
        return sum(self.sizes.values())
