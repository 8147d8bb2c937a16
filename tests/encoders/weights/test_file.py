"""Files that cannot be read say why, and what to do."""

import json
import struct

import pytest
import torch

from selip_core.encoders.weights import read_weights


@pytest.fixture
def good(save):
    return save({"a": torch.arange(6.0).reshape(2, 3)}, note="kept")


def test_gives_tensors_and_what_the_header_tells(good):
    file = read_weights(good)
    assert file.metadata == {"note": "kept"}
    torch.testing.assert_close(file.tensors["a"], torch.arange(6.0).reshape(2, 3))


def test_names_that_stand_for_another_tensor_are_restored(save):
    path = save({"a": torch.ones(2)}, aliases=json.dumps({"b": "a"}))
    tensors = read_weights(path).tensors
    assert tensors["b"] is tensors["a"]


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
def test_pickled_files_are_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(b"anything at all")
    advice = rf"selip convert-weights weights{suffix} weights.safetensors"
    with pytest.raises(ValueError, match=advice):
        read_weights(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_files_are_refused_by_content(tmp_path, legacy):
    path = tmp_path / "weights.safetensors"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match="is pickled, and unpickling can run any code"):
        read_weights(path)


@pytest.mark.parametrize("length", [0x80, 0x4B50])
def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(tmp_path, length):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", length) + header.ljust(length) + bytes(4))
    assert read_weights(path).tensors["a"].shape == (1,)


@pytest.mark.parametrize("keep", [0, 4, 20, -3])
def test_damage_is_told(good, keep):
    content = good.read_bytes()
    good.write_bytes(content[:keep])
    with pytest.raises(ValueError, match=r"weights.safetensors is damaged .*; fetch or convert it"):
        read_weights(good)


@pytest.mark.parametrize(
    "aliases", ["no JSON", "[1]", '{"b": "missing"}', '{"b": ["a"]}', '{"b": {"a": 1}}', "null"]
)
def test_damaged_names_are_told(save, aliases):
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged: 'aliases' in its head"):
        read_weights(save({"a": torch.ones(2)}, aliases=aliases))


def test_a_pointer_of_git_lfs_is_told(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ValueError, match="git lfs pull"):
        read_weights(path)


def test_a_missing_file_is_told(tmp_path):
    told = r"there is no .*nowhere\.safetensors: expected a file of safetensors; check the path, or"
    with pytest.raises(FileNotFoundError, match=told):
        read_weights(tmp_path / "nowhere.safetensors")
    with pytest.raises(FileNotFoundError, match="path, which starts at the current folder, or"):
        read_weights("nowhere.safetensors")


@pytest.mark.parametrize("given", [{"a": torch.ones(1)}, None])
def test_what_is_no_path_is_told(given):
    told = rf"path must be that of a file, got {type(given).__name__}: put .*save_file\(state_dict"
    with pytest.raises(ValueError, match=told):
        read_weights(given)
