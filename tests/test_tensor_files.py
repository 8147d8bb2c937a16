"""Tensor files: what is read is bit for bit what was written, or an error."""

import errno
import hashlib
import os
import resource
import signal

import pytest
import torch
from safetensors.torch import save_file

from selip_core.errors import WriteError
from selip_core.files import atomic_path
from selip_core.tensor_files import content_digest, load_tensors, save_tensors

TENSORS = {
    "image": torch.tensor([[1.5, -0.0], [float("inf"), 2.0**-149]]),
    "counts": torch.arange(3),
    "halves": torch.ones(3, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "none": torch.empty(0, 3),
    "scalar": torch.tensor(7, dtype=torch.uint8),
}
FACTS = {"epoch": "3", "of": "头部"}


@pytest.fixture
def path(tmp_path):
    save_tensors(TENSORS, tmp_path / "a.safetensors", FACTS)
    return tmp_path / "a.safetensors"


def test_comes_back_bit_for_bit(path):
    tensors, facts = load_tensors(path)
    assert facts == FACTS
    assert content_digest(tensors) == content_digest(TENSORS)
    assert torch.equal(tensors["image"], TENSORS["image"])
    assert torch.signbit(tensors["image"][0, 1])


def test_tied_strided_tensors_that_require_gradients_are_written(tmp_path):
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    tensors = {"a": weight, "b": weight, "transposed": weight.T, "row": weight[1]}
    tensors["one"] = weight[:, 0][1:]  # contiguous, with a stride of 3
    save_tensors(tensors, tmp_path / "a.safetensors")
    again, _ = load_tensors(tmp_path / "a.safetensors")
    assert again["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert again["row"].tolist() == [3, 4, 5]
    assert again["one"].tolist() == [3]
    assert torch.equal(again["a"], again["b"])


def test_digest_is_the_sha256_of_what_is_documented():
    """Worked by hand: facts, then name, type, shape and bytes of each tensor by name."""
    content = b'[["k", "v"]]' + b'["a", "torch.uint8", [2]]\0' + b"\x01\x02"
    digest = content_digest({"a": torch.tensor([1, 2], dtype=torch.uint8)}, {"k": "v"})
    assert digest == hashlib.sha256(content).hexdigest()


def test_every_flipped_bit_of_values_and_facts_is_found(path):
    content = bytearray(path.read_bytes())
    values = range(8 + int.from_bytes(content[:8], "little"), len(content))
    facts = range(content.index(b'"epoch"'), content.index(b'"epoch"') + len('"epoch":"3"'))
    for place in (*values, *facts):
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.safetensors is damaged"):
            load_tensors(path)
        content[place] ^= 1
    path.write_bytes(content)
    load_tensors(path)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_a_file_cut_short_is_damaged(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.safetensors is damaged"):
        load_tensors(path)


def test_a_file_of_another_program_is_not_trusted(path):
    save_file(TENSORS, path)
    with pytest.raises(ValueError, match="carries no digest of its content"):
        load_tensors(path)


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        load_tensors(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "link")


def write_without_room(path):
    """Run in a process of its own: the limit of a file's size is that of the process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        with atomic_path(path) as temporary:
            save_tensors({"a": torch.zeros(10_000)}, temporary)
    except WriteError as error:
        os._exit(0 if (error.errno, error.filename) == (errno.EFBIG, os.fspath(path)) else 1)
    os._exit(2)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path):
    child = os.fork()
    if child == 0:
        write_without_room(path)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(path.parent.iterdir()) == [path]
    assert content_digest(load_tensors(path)[0]) == content_digest(TENSORS)


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "none" / "a.safetensors"
    with pytest.raises(WriteError, match="No such file or directory") as caught:
        save_tensors(TENSORS, path)
    assert caught.value.filename == os.fspath(path)
