"""Tensors in a file: types, layouts and ties come back."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from selip_core.pretrained.tensors import read_tensors, write_tensors


def round_trip(module, fresh, path):
    write_tensors(module, path)
    read_tensors(fresh, path)
    return fresh


def test_tied_weights_are_written_once_and_stay_tied(layer, tmp_path):
    from safetensors.torch import load_file

    module = layer(3, 2, tied=True)
    again = round_trip(module, layer(3, 2, tied=True), tmp_path / "a.safetensors")
    assert sorted(load_file(tmp_path / "a.safetensors")) == ["layer.bias", "layer.weight"]
    assert again.twin.weight is again.layer.weight
    assert torch.equal(again.twin.weight, module.layer.weight)


def test_two_views_of_one_memory_are_written_both(tmp_path):
    module = nn.Module()
    whole = torch.arange(6.0)
    module.register_buffer("first", whole[:4])
    module.register_buffer("last", whole[2:])
    fresh = nn.Module()
    fresh.register_buffer("first", torch.zeros(4))
    fresh.register_buffer("last", torch.zeros(4))
    round_trip(module, fresh, tmp_path / "a.safetensors")
    assert fresh.first.tolist() == [0, 1, 2, 3]
    assert fresh.last.tolist() == [2, 3, 4, 5]


def test_types_differ_by_tensor_and_buffers_that_are_not_saved_follow(layer, tmp_path):
    module = layer(3, 2).bfloat16()
    module.layer.bias.data = module.layer.bias.data.double()
    again = round_trip(module, layer(3, 2), tmp_path / "a.safetensors")
    assert (again.layer.weight.dtype, again.layer.bias.dtype) == (torch.bfloat16, torch.float64)
    assert again.scale.dtype == torch.bfloat16
    assert torch.equal(again.scale, module.scale)


@pytest.mark.parametrize(
    ("convolution", "layout"),
    [(nn.Conv2d, torch.channels_last), (nn.Conv3d, torch.channels_last_3d)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_layouts_come_back(convolution, layout, channels, tmp_path):
    module = convolution(channels, 2, 3).to(memory_format=layout)
    again = round_trip(module, convolution(channels, 2, 3), tmp_path / "a.safetensors")
    assert (
        again.weight.stride()
        == module.weight.stride()
        != convolution(channels, 2, 3).weight.stride()
    )
    assert torch.equal(again.weight, module.weight)


def test_a_plain_layout_comes_back_in_a_module_that_had_another(tmp_path):
    fresh = nn.Conv3d(2, 2, 3).to(memory_format=torch.channels_last_3d)
    module = nn.Conv3d(2, 2, 3)
    round_trip(module, fresh, tmp_path / "a.safetensors")
    assert fresh.weight.stride() == module.weight.stride()


def test_whether_a_parameter_learns_is_left_as_it_is(tmp_path):
    fresh = nn.Linear(3, 2).requires_grad_(False)
    round_trip(nn.Linear(3, 2), fresh, tmp_path / "a.safetensors")
    assert not fresh.weight.requires_grad


def test_a_loaded_module_learns_and_leaves_the_file_alone(tmp_path):
    path = tmp_path / "a.safetensors"
    module = round_trip(nn.Linear(3, 2), nn.Linear(3, 2), path)
    before = path.read_bytes()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    module(torch.ones(1, 3)).sum().backward()
    old = module.weight.detach().clone()
    optimizer.step()
    assert torch.equal(module.weight, old - 1)
    assert path.read_bytes() == before


def test_names_that_are_missing_or_foreign_are_told(layer, tmp_path):
    write_tensors(nn.Linear(3, 2), tmp_path / "a.safetensors")
    with pytest.raises(
        ValueError, match=r"layer\.weight is missing; .*; weight has no place in it"
    ):
        read_tensors(layer(3, 2), tmp_path / "a.safetensors")


def test_state_that_is_no_tensor_is_refused(tmp_path):
    class Odd(nn.Module):
        def get_extra_state(self):
            return {"a": 1}

    with pytest.raises(ValueError, match="_extra_state is no tensor but dict"):
        write_tensors(Odd(), tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("channels_last", "["),
        ("channels_last", "3"),
        ("buffer_types", "[]"),
        ("buffer_types", '{"scale": "nothing"}'),
        ("buffer_types", '{"scale": ["float16"]}'),
        ("buffer_types", '{"scale": "load"}'),
    ],
)
def test_a_damaged_header_is_told(layer, tmp_path, key, value):
    module, path = layer(3, 2), tmp_path / "model.safetensors"
    save_file(module.state_dict(), path, {key: value})
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: .* header"):
        read_tensors(module, path)
