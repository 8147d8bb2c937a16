"""Names of wrappers within names mean nothing, in whatever layout a file is."""

import re

import pytest
import torch

from selip_core.encoders import ResNetEncoder
from selip_core.encoders.weights import WEIGHT_FORMATS, load_weights
from selip_core.encoders.weights.wrappers import drop_transparent, unwrap


def within(wrapper):
    """Return a renaming that puts a wrapper after each level with a number, as of a block."""
    return lambda name: re.sub(
        r"((?:blocks|layer|stages)s?\d*(?:\.\d+)?)\.", rf"\1.{wrapper}.", name
    )


def before(*wrappers):
    return lambda name: ".".join([*wrappers, name])


WRAPPED = {
    "compiled": before("_orig_mod"),
    "compiled blocks": within("_orig_mod"),
    "checkpointed blocks": within("_checkpoint_wrapped_module"),
    "FSDP": lambda name: before("_fsdp_wrapped_module")(within("_fsdp_wrapped_module")(name)),
    "FSDP of checkpointed blocks": within("_fsdp_wrapped_module._checkpoint_wrapped_module"),
    "average of a network": before("ema_model", "module"),
    "average under another name": before("model_ema", "module"),
    "average of a compiled network": before("ema_model", "module", "_orig_mod"),
    "teacher": before("teacher", "module"),
    "teacher within a program's module": before("model", "teacher", "module"),
    "compiled blocks of an average": lambda n: before("ema", "module")(within("_orig_mod")(n)),
}


@pytest.fixture(params=WEIGHT_FORMATS)
def layout(request, weight_layouts):
    """Return the name of a layout, what makes an encoder for it, and a file's tensors."""
    return request.param, *weight_layouts[request.param]


def assert_loaded(encoder, path, reference, name):
    report = load_weights(encoder, path)
    assert (report.format, report.share, report.used_share) == (name, 1.0, 1.0)
    for key, tensor in encoder.state_dict().items():
        if not key.startswith("pooling."):
            assert torch.equal(tensor, reference[key])


@pytest.mark.parametrize("rename", WRAPPED.values(), ids=WRAPPED)
def test_wrapped_names_are_loaded_in_every_layout(save, layout, rename):
    name, make, tensors = layout
    plain = make()
    load_weights(plain, save(tensors, "plain.safetensors"))
    wrapped = {rename(key): value for key, value in tensors.items()}
    assert wrapped.keys() != tensors.keys()
    assert_loaded(make(), save(wrapped), plain.state_dict(), name)


def small():
    return ResNetEncoder(10, embed_dim=6, width=1 / 16)


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("prefix", ["", "ema_model.", "swa."])
def test_a_counter_shows_an_average(save, prefix):
    """AveragedModel of a ResNet: its "module." does not make it a file of MedicalNet."""
    network = small().network.state_dict()
    tensors = under(f"{prefix}module.", network) | {f"{prefix}n_averaged": torch.tensor(3)}
    encoder = small()
    report = load_weights(encoder, save(tensors))
    assert (report.format, report.share, report.ignored) == ("monai-resnet", 1.0, 1)
    assert torch.equal(encoder.network.conv1.weight, network["conv1.weight"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", "ema_model.module."),
        ("model.", "model_ema.module."),
        ("model.", "model.ema."),
        ("student.", "teacher."),
        ("image_encoder.", "module.ema_model.module.image_encoder."),
        ("", "module."),
    ],
)
def test_a_network_and_its_average_are_never_mixed(save, one, other):
    first, second = small().state_dict(), small().state_dict()
    tensors = under(one, first) | under(other, second)
    if other == "module.":
        tensors["n_averaged"] = torch.tensor(3)
    path, encoder = save(tensors), small()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    prefix = re.escape(other.removesuffix("image_encoder."))
    message = rf"several copies .*'{prefix}'.*load_weights\(.*, prefix='.*convert-weights --prefix"
    with pytest.raises(ValueError, match=message):
        load_weights(encoder, path)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, copy in ((other, second), (one, first)):
        load_weights(encoder, path, prefix=name)
        assert torch.equal(encoder.network.conv1.weight, copy["network.conv1.weight"])


def test_half_of_a_network_and_half_of_its_average_are_not_mixed(save):
    state = small().state_dict()
    names = sorted(state)
    half = {name: state[name] for name in names[: len(names) // 2]}
    both = half | under("ema_model.module.", {n: t for n, t in state.items() if n not in half})
    with pytest.raises(ValueError, match="so nothing was loaded"):
        load_weights(small(), save(both))


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_fsdp_wrapped_module."])
def test_two_names_that_become_one_are_refused(save, wrapper):
    state = small().state_dict()
    message = rf"names two tensors that are one without wrappers: {wrapper}network.* and network"
    with pytest.raises(ValueError, match=message):
        load_weights(small(), save(state | under(wrapper, state)))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_a_module_of_the_encoder_itself_keeps_its_name(save, prefix):
    def wrapped():
        encoder = small()
        encoder.network.module = torch.nn.Conv3d(2, 2, 1)
        encoder.network.teacher = torch.nn.Sequential(torch.nn.Conv3d(2, 3, 1))
        return encoder

    trained, encoder = wrapped(), wrapped()
    report = load_weights(encoder, save(under(prefix, trained.state_dict())))
    assert (report.share, report.unmatched_file) == (1.0, ())
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name])


@pytest.mark.parametrize("where", ["network.module.", "image_encoder.module.network.module."])
def test_a_wrapped_part_is_loaded(save, where):
    trained, encoder = small(), small()
    tensors = {n.replace("network.", where): t for n, t in trained.state_dict().items()}
    assert load_weights(encoder, save(tensors)).share == 1.0
    assert torch.equal(encoder.network.conv1.weight, trained.network.conv1.weight)


def test_a_compiled_copy_of_a_network_is_chosen_by_its_prefix(save):
    """As the message of two names that become one says."""
    plain, compiled = small().state_dict(), small().state_dict()
    names = {key.replace("layer1.", "layer1._orig_mod."): value for key, value in compiled.items()}
    path = save(plain | under("_orig_mod.", names))
    with pytest.raises(
        ValueError, match=r"one without wrappers: .*load_weights\(..., prefix=\.\.\."
    ):
        load_weights(small(), path)
    encoder = small()
    load_weights(encoder, path, prefix="_orig_mod.")
    assert all(torch.equal(value, compiled[key]) for key, value in encoder.state_dict().items())


def test_a_prefix_that_no_name_has_is_refused(save):
    message = r"weights.safetensors has no name that begins with the prefix 'ema\.'; names begin"
    with pytest.raises(ValueError, match=message):
        load_weights(small(), save(small().state_dict()), prefix="ema.")


def test_names_are_those_of_torch_itself():
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import _CHECKPOINT_PREFIX
    from torch.distributed.fsdp._common_utils import FSDP_PREFIX

    assert drop_transparent(f"a.{_CHECKPOINT_PREFIX}b.{FSDP_PREFIX}weight") == "a.b.weight"
    layer = torch.compile(torch.nn.Linear(1, 1))
    assert [*map(drop_transparent, layer.state_dict())] == ["weight", "bias"]
    average = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(1, 1))
    assert unwrap(average.state_dict(), ()).tensors.keys() == {"weight", "bias"}
