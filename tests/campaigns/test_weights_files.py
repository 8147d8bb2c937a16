"""Files of weights under random wrappers and with random faults, in every layout."""

import random
import re

import pytest
import torch
from safetensors.torch import save_file

from selip_core.encoders.weights import load_weights

PLAIN = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
COPIES = ("ema_model.module.", "model_ema.module.", "teacher.module.", "ema.module.")


def wrapped(names, chance):
    """Return a new name for each: wrappers at random levels, the same ones for a whole part."""
    levels = {part for name in names for part in _parts(name)}
    inside = {part: chance.choice(PLAIN) for part in sorted(levels) if chance.random() < 0.2}
    start = chance.choice(["", "", *COPIES])
    start = "".join(f"{each}." for each in PLAIN if chance.random() < 0.2) + start
    return {name: start + _wrap(name, inside) for name in names}


def _parts(name):
    levels = name.split(".")
    return [".".join(levels[:end]) for end in range(1, len(levels))]


def _wrap(name, inside):
    *levels, last = name.split(".")
    found = [
        f"{level}.{inside[part]}" if part in inside else level
        for level, part in zip(levels, _parts(name), strict=True)
    ]
    return ".".join([*found, last])


def change(tensors, chance):
    """Return a random fault, and the tensors with it in one weight or in all."""
    candidates = sorted(n for n, t in tensors.items() if t.is_floating_point() and t.ndim > 1)
    candidates = [name for name in candidates if re.search(r"weight$", name)]
    weights = [n for n in candidates if not re.search(r"(fc|conv_seg|projection|decoder|out)\b", n)]
    chosen = weights if chance.random() < 0.2 else [chance.choice(weights)]
    fault = chance.choice(sorted(FAULTS))
    faulty = {name: FAULTS[fault](tensors[name], chance) for name in chosen}
    return f"{fault} in {chosen[0]}", tensors | faulty


def _with(value):
    def put(tensor, chance):
        changed = tensor.clone()
        changed.view(-1)[chance.randrange(tensor.numel())] = value
        return changed

    return put


FAULTS = {
    "NaN": _with(torch.nan),
    "infinity": _with(-torch.inf),
    "zero": lambda tensor, _: torch.zeros_like(tensor),
    "int8": lambda tensor, _: (tensor * 100).to(torch.int8),
    "uint8": lambda tensor, _: (tensor * 100).abs().to(torch.uint8),
    "float8": lambda tensor, _: tensor.to(torch.float8_e5m2),
    "whole": lambda tensor, _: (tensor / tensor.abs().max() * 127).round(),
    "bool": lambda tensor, _: tensor > 0,
    "complex": lambda tensor, _: tensor.to(torch.complex64),
    "beyond": lambda tensor, _: tensor.double() * 1e300,
}


@pytest.fixture(scope="module")
def references(weight_layouts, tmp_path_factory):
    """For each layout an encoder, how it starts, and its tensors after a plain load."""
    folder, made = tmp_path_factory.mktemp("plain"), {}
    for layout, (make, tensors) in weight_layouts.items():
        encoder = make()
        start = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        save_file(tensors, folder / f"{layout}.safetensors")
        load_weights(encoder, folder / f"{layout}.safetensors")
        loaded = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        made[layout] = encoder, start, loaded
    return made


def is_same(encoder, tensors):
    state = encoder.state_dict()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in state.items())


def error_of(encoder, path):
    try:
        load_weights(encoder, path)
    except ValueError as error:
        return str(error)
    return ""


def test_wrapped_names_load_the_same_values(campaign, weight_layouts, references, tmp_path):
    """Weights under random wrapper names, in every layout: loaded bit-equal."""
    for seed in campaign.seeds(24):
        chance = random.Random(seed)
        layout = sorted(weight_layouts)[seed % len(weight_layouts)]
        tensors = weight_layouts[layout][1]
        encoder, start, loaded = references[layout]
        with campaign.case(f"{layout} {seed}"):
            encoder.load_state_dict(start)
            names = wrapped(sorted(tensors), chance)
            save_file({names[n]: tensors[n] for n in tensors}, tmp_path / "w.safetensors")
            assert load_weights(encoder, tmp_path / "w.safetensors").share == 1.0
            assert is_same(encoder, loaded)


def test_faulty_files_load_nothing(campaign, weight_layouts, references, tmp_path):
    """Weights with NaN, zeros, quantised or other values, or cut short: refused, nothing loaded."""
    for seed in campaign.seeds(40):
        chance = random.Random(seed)
        layout = sorted(weight_layouts)[seed % len(weight_layouts)]
        encoder, start, _ = references[layout]
        path = tmp_path / "w.safetensors"
        with campaign.case(f"{layout} {seed}"):
            encoder.load_state_dict(start)
            tensors = weight_layouts[layout][1]
            names = wrapped(sorted(tensors), chance)
            is_cut = chance.random() < 0.2
            fault, faulty = ("", tensors) if is_cut else change(tensors, chance)
            save_file({names[name]: faulty[name].contiguous() for name in tensors}, path)
            if is_cut:
                content = path.read_bytes()
                path.write_bytes(content[: chance.randrange(len(content))])
            message = error_of(encoder, path)
            assert message, f"loaded with {fault}"
            assert re.search(r"so nothing was loaded|is damaged", message), message
            assert is_same(encoder, start)
