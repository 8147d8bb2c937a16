"""Folders of models: written whole, read strictly."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from selip_core.digests import file_digest, sealed
from selip_core.errors import DataError, WriteError
from selip_core.pretrained import PretrainedModule, folder, kinds, register_kind


@pytest.fixture
def saved(layer, tmp_path):
    """A saved layer; return its folder and itself."""
    module = layer(3, 2).eval()
    module.save_pretrained(tmp_path / "model")
    return tmp_path / "model", module


def change(path, **changes):
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(sealed(config | changes)), encoding="utf-8")


def test_holds_weights_configuration_and_card(saved):
    path, _ = saved
    assert sorted(file.name for file in path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    config = json.loads((path / "config.json").read_text())
    assert config["format"] == 2
    assert config["model"] == {"kind": "layer", "inputs": 3, "outputs": 2, "tied": False}


def test_comes_back_in_evaluation_mode_and_is_the_same(layer, saved):
    path, module = saved
    again = layer.from_pretrained(path)
    assert not again.training
    assert torch.equal(again.layer.weight, module.layer.weight)
    assert isinstance(PretrainedModule.from_pretrained(path), layer)


def test_comes_back_on_the_cpu_whatever_the_default_device(layer, saved):
    with torch.device("meta"):
        again = layer.from_pretrained(saved[0])
    assert {buffer.device.type for buffer in again.buffers()} == {"cpu"}
    assert again.layer.weight.device.type == "cpu"


def test_an_existing_folder_is_refused_and_left_alone(layer, saved):
    path, module = saved
    before = (path / "model.safetensors").read_bytes()
    with pytest.raises(
        FileExistsError, match="model is there already; a model is saved into a new"
    ):
        layer(3, 2).save_pretrained(path)
    assert (path / "model.safetensors").read_bytes() == before
    (path / "model.safetensors").unlink()
    with pytest.raises(FileExistsError, match="is there already"):
        module.save_pretrained(path / "config.json")


def test_an_empty_folder_is_taken(layer, tmp_path):
    layer(3, 2).save_pretrained(tmp_path)
    assert layer.from_pretrained(tmp_path).layer.in_features == 3


def test_nothing_is_left_of_what_could_not_be_written(layer, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "card_page", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        layer(3, 2).save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_module_without_a_kind_is_refused(tmp_path):
    class Mine(PretrainedModule):
        pass

    with pytest.raises(ValueError, match=r"Mine cannot be saved by name.*register its kind"):
        Mine().save_pretrained(tmp_path / "model")


def test_a_subclass_is_refused_unless_it_has_a_kind_of_its_own(layer, layer_kind, tmp_path):
    class Mine(layer):
        pass

    with pytest.raises(ValueError, match=r"Mine is a subclass of Layer, and would come back as on"):
        Mine(3, 2).save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    register_kind(replace(layer_kind("mine"), module=Mine, build=lambda *told: Mine(3, 2)))
    Mine(3, 2).save_pretrained(tmp_path / "model")
    assert isinstance(Mine.from_pretrained(tmp_path / "model"), Mine)


@pytest.mark.parametrize("error", [TypeError, ZeroDivisionError, RuntimeError, KeyError])
def test_whatever_building_raises_is_told_with_its_place(
    layer, layer_kind, saved, error, monkeypatch
):
    def build(settings, path, where):
        raise error("rubbish")

    monkeypatch.setitem(kinds._KINDS, "layer", replace(layer_kind(), build=build))
    with pytest.raises(
        DataError, match=rf"no layer can be made of it \({error.__name__}"
    ) as caught:
        layer.from_pretrained(saved[0])
    assert caught.value.problems[0].where == f"{saved[0] / 'config.json'} $.model"


def test_another_class_is_told(layer, saved):
    class Other(PretrainedModule):
        pass

    with pytest.raises(ValueError, match=r"holds no Other but a model of kind 'layer'"):
        Other.from_pretrained(saved[0])


def test_a_kind_that_is_not_registered_is_told(layer, saved):
    change(saved[0] / "config.json", model={"kind": "stranger", "inputs": 3})
    with pytest.raises(ValueError, match=r"holds no Layer but a model of kind 'stranger'"):
        layer.from_pretrained(saved[0])


def test_a_kind_is_registered_once(layer, layer_kind):
    with pytest.raises(ValueError, match="a kind named 'layer' is already registered"):
        register_kind(layer_kind())


def test_a_newer_format_is_told(layer, saved):
    change(saved[0] / "config.json", format=3, selip_core="9.1.0", news=True)
    with pytest.raises(ValueError, match=r"has format 3, .* reads formats 1 to 2; .* 9\.1\.0"):
        layer.from_pretrained(saved[0])


def test_unknown_keys_are_told_all_at_once(layer, saved):
    path = saved[0] / "config.json"
    change(path, model={"kind": "layer", "input": 3, "outputs": 2, "x": 1})
    with pytest.raises(ValueError, match=r"\(3 problems\)") as caught:
        layer.from_pretrained(saved[0])
    assert f"{path} $.model.input: unknown key; did you mean 'inputs'?" in str(caught.value)
    assert f"{path} $.model.inputs: Field required" in str(caught.value)
    change(path, name="x")
    with pytest.raises(ValueError, match=r"\$\.name: unknown key; there are format, selip_core"):
        layer.from_pretrained(saved[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "expected a JSON object, got list"),
        ('{"model_type": "bert"}', "not that of a model which selip-core saved"),
        ('{"model_type": "bert", "model": 1, "format": "x"}', "not that of a model which selip"),
    ],
)
def test_a_foreign_or_damaged_configuration_is_told(layer, saved, text, message):
    (saved[0] / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        layer.from_pretrained(saved[0])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_told(layer, saved, name):
    (saved[0] / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}.* is missing"):
        layer.from_pretrained(saved[0])


def test_one_wrong_bit_is_found(layer, saved):
    weights = saved[0] / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: its SHA-256 is"):
        layer.from_pretrained(saved[0])


def test_a_part_of_a_larger_model_is_found_although_the_whole_is_not_known(layer, saved, tmp_path):
    from safetensors.torch import load_file, save_file

    path, module = saved
    weights = load_file(path / "model.safetensors")
    save_file(
        {f"inner.{name}": value for name, value in weights.items()} | {"x": torch.ones(1)},
        path / "model.safetensors",
    )
    config = json.loads((path / "config.json").read_text())
    whole = {"kind": "whole", "more": {"a": 1}, "inner": config["model"]}
    change(path / "config.json", model=whole, sha256=file_digest(path / "model.safetensors"))
    again = layer.from_pretrained(path)
    assert torch.equal(again.layer.weight, module.layer.weight)


def test_weights_of_another_model_are_told(layer, saved, tmp_path):
    other = tmp_path / "other"
    layer(3, 5).save_pretrained(other)
    (other / "model.safetensors").replace(saved[0] / "model.safetensors")
    change(saved[0] / "config.json", sha256=file_digest(saved[0] / "model.safetensors"))
    with pytest.raises(
        ValueError, match=r"another model: .*layer\.weight must have shape \(2, 3\)"
    ):
        layer.from_pretrained(saved[0])


def test_nothing_is_executed_from_a_folder(layer, saved):
    """A pickle in the place of the weights is refused as damaged, not read."""
    torch.save(nn.Linear(3, 2).state_dict(), saved[0] / "model.safetensors")
    change(saved[0] / "config.json", sha256=file_digest(saved[0] / "model.safetensors"))
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        layer.from_pretrained(saved[0])


def test_an_edited_configuration_is_refused_by_name(layer, saved):
    path = saved[0] / "config.json"
    text = path.read_text()
    path.write_text(text.replace('"inputs": 3', '"inputs": 2'))
    with pytest.raises(ValueError, match=r"config\.json is damaged or was edited: .*save it into"):
        layer.from_pretrained(saved[0])
    path.write_text(text.replace('"format": 2', '"format": 1'))
    with pytest.raises(ValueError, match="was edited"):
        layer.from_pretrained(saved[0])
    path.write_text(json.dumps(json.loads(text), indent=None))  # spaces are no content
    layer.from_pretrained(saved[0])


def test_folders_of_format_1_are_read(layer, saved):
    path, module = saved
    config = json.loads((path / "config.json").read_text())
    del config["files"], config["content_sha256"]
    (path / "config.json").write_text(json.dumps(config | {"format": 1}))
    assert torch.equal(layer.from_pretrained(path).layer.weight, module.layer.weight)


@pytest.fixture
def with_words(layer, layer_kind, monkeypatch, tmp_path):
    """A saved layer that keeps a further file; return its folder."""

    def describe(module, path):
        (path / "words").mkdir()
        (path / "words" / "vocab.txt").write_text("pons")
        return layer_kind().describe(module, path)

    monkeypatch.setitem(kinds._KINDS, "layer", replace(layer_kind(), describe=describe))
    layer(3, 2).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_further_files_are_held_to_their_digests(layer, with_words):
    path = with_words / "words" / "vocab.txt"
    (with_words / "notes.txt").write_text("of the user")
    layer.from_pretrained(with_words)
    path.write_text("pond")
    with pytest.raises(ValueError, match=r"vocab\.txt is damaged: .*copy the model's folder again"):
        layer.from_pretrained(with_words)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt is missing; copy"):
        layer.from_pretrained(with_words)
    path.parent.rmdir()  # a part that the user left out
    layer.from_pretrained(with_words)


def test_a_full_disk_names_the_folder(layer, tmp_path, limit_file_size):
    module = layer(100, 100)
    with limit_file_size(10_000), pytest.raises(WriteError, match="File too large") as caught:
        module.save_pretrained(tmp_path / "model")
    assert caught.value.filename == str(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
