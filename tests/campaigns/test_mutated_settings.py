"""Damaged settings and kernel definitions: refused in our own words, or read."""

import argparse
import json
import math
import random

from selip_core.cli.similarity_settings import add_settings, similarity_of
from selip_core.recipes import PretrainConfig, read_config
from selip_core.recipes.config_file import flatten
from selip_core.similarity import closeness, exact, synonyms
from selip_core.similarity.kernels.definition import definition

TOML = """
epochs = 3
seed = 7
[data]
sequences = ["T1", "T2"]
spacing = [4.0, 4.0, 4.0]
batch_size = 8
[image_encoder]
name = "resnet18"
pooling = "avg"
[optimizer]
learning_rate_image = 1e-3
warmup = 0.1
"""
KERNEL = (
    0.5 * exact("site") + 0.3 * synonyms("side", {"left": ["l"]}) + 0.2 * closeness("size", "3 mm")
)
VALUES = ("nan", "inf", "-inf", "NaN", "1e999", "9" * 5000, "[" * 300 + "]" * 300, "true", '""')
VALUES += ("-1", "[]", "{}", '"x"', "null", "'a'", "0x10", "1979-05-27", "\\", "\0", "\x1b", "é")


def flip_bit(draw, data):
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def insert_value(draw, data):
    place = draw.randrange(len(data))
    return data[:place] + draw.choice(VALUES).encode() + data[place:]


def replace_value(draw, data):
    text = data.decode(errors="replace")
    numbers = [word for word in text.replace(",", " ").split() if word[-1:].isdigit()]
    old = draw.choice(numbers) if numbers else text[:1]
    return text.replace(old, draw.choice(VALUES), 1).encode()


def cut(draw, data):
    return data[: draw.randrange(len(data))]


def double_line(draw, data):
    lines = data.split(b"\n")
    number = draw.randrange(len(lines))
    return b"\n".join([*lines[: number + 1], *lines[number:]])


def shuffle_lines(draw, data):
    lines = data.split(b"\n")
    draw.shuffle(lines)
    return b"\n".join(lines)


def encode(draw, data):
    return data.decode(errors="replace").encode(draw.choice(["utf-16", "utf-32", "utf-16-be"]))


def swap_tokens(draw, data):
    old, new = draw.sample([b'"', b"{", b"}", b"[", b"]", b":", b",", b"=", b"\n", b"."], 2)
    return data.replace(old, new, draw.choice([1, 5, -1]))


MUTATIONS = (flip_bit, insert_value, replace_value, cut, double_line, shuffle_lines, encode)
MUTATIONS += (swap_tokens,)


def mutated(draw, data):
    for _ in range(draw.choice([1, 1, 2, 3])):
        data = draw.choice(MUTATIONS)(draw, data) or b" "
    return data


def kernel_of(path):
    parser = argparse.ArgumentParser()
    add_settings(parser)
    return similarity_of(parser.parse_args(["--kernel", str(path)])).kernel


def outcome(read, path):
    """Return what was read, or None with the message of a ValueError; others pass."""
    try:
        return read(path), ""
    except ValueError as error:
        return None, str(error)


def test_mutated_settings(campaign, tmp_path):
    """Settings in TOML and JSON with damaged bytes, values, lines or encodings"""
    forms = {
        "settings.toml": TOML.encode(),
        "settings.json": PretrainConfig(epochs=3).model_dump_json(indent=1).encode(),
    }
    for seed in campaign.seeds(25):
        with campaign.case(seed):
            draw = random.Random(seed)
            name = draw.choice(list(forms))
            path = tmp_path / name
            path.write_bytes(mutated(draw, forms[name]))
            config, message = outcome(read_config, path)
            if config is None:
                assert str(path) in message
                continue
            numbers = flatten(config.model_dump()).values()
            assert all(math.isfinite(each) for each in numbers if isinstance(each, float))
            assert PretrainConfig.model_validate(config.model_dump()) == config


def test_mutated_kernels(campaign, tmp_path):
    """Definitions of finding kernels with damaged bytes, values, lines or encodings"""
    text = json.dumps(definition(KERNEL), indent=1).encode()
    path = tmp_path / "kernel.json"
    path.write_bytes(text)
    assert kernel_of(path) == KERNEL
    for seed in campaign.seeds(200):
        with campaign.case(seed):
            path.write_bytes(mutated(random.Random(seed), text))
            kernel, message = outcome(kernel_of, path)
            if kernel is None:
                assert message
            else:
                json.dumps(definition(kernel), allow_nan=False)
