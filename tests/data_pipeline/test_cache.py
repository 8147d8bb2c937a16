"""The volume cache: whatever happens to its folder, volumes come out right and training goes on."""

import errno
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from selip_core.data import Preprocessing, VolumeCache, VolumeDataset, read_manifest
from selip_core.data import cache as module
from selip_core.tensor_files import load_tensors, save_tensors

PREPROCESSING = Preprocessing(spacing=(8.0, 8.0, 8.0), size=(16, 18, 15))
SHAPE = (1, 16, 18, 15)


@pytest.fixture
def source(shared_folder, phantom):
    nibabel.save(phantom, shared_folder / "name of a patient.nii.gz")
    return shared_folder / "name of a patient.nii.gz"


@pytest.fixture
def cache(shared_folder):
    return VolumeCache(shared_folder / "cache", PREPROCESSING)


@pytest.fixture
def fresh(source):
    return PREPROCESSING(source, "here")


@pytest.fixture
def read(cache, source, fresh, caplog):
    """Read the volume from the cache, see that it is right, and return the warnings."""

    def read(cache=cache):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert torch.equal(cache.get(source, "here"), fresh)
        assert "patient" not in caplog.text
        assert str(cache.folder) not in caplog.text
        return [record.message for record in caplog.records]

    return read


def only_entry(cache):
    (entry,) = cache.folder.iterdir()
    return entry


def other_image(value=0.0, shape=SHAPE, dtype=torch.float32):
    return torch.full(shape, value, dtype=dtype)


def flip(entry):
    content = bytearray(entry.read_bytes())
    content[-5] ^= 4
    entry.write_bytes(content)


def link_to_nowhere(entry):
    entry.unlink()
    entry.symlink_to(entry.with_name("nowhere"))


DAMAGE = {
    "empty": lambda entry: entry.write_bytes(b""),
    "cut": lambda entry: entry.write_bytes(entry.read_bytes()[:-7]),
    "text": lambda entry: entry.write_text("<html>404</html>"),
    "one bit": flip,
    "without a digest": lambda entry: save_file({"image": other_image()}, entry),
    "not a number": lambda entry: save_tensors({"image": other_image(float("nan"))}, entry),
    "infinite": lambda entry: save_tensors({"image": other_image(float("inf"))}, entry),
    "another type": lambda entry: save_tensors({"image": other_image(dtype=torch.half)}, entry),
    "another shape": lambda entry: save_tensors({"image": other_image(shape=SHAPE[1:])}, entry),
    "another name": lambda entry: save_tensors({"volume": other_image()}, entry),
    "a link to nowhere": link_to_nowhere,
}


def test_another_limit_of_size_takes_the_same_entry(cache, read, source):
    read()
    VolumeCache(cache.folder, replace(PREPROCESSING, max_volume_gib=3.0)).get(source, "here")
    assert len(list(cache.folder.glob("*.safetensors"))) == 1
    VolumeCache(cache.folder, replace(PREPROCESSING, geometry="sform")).get(source, "here")
    assert len(list(cache.folder.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_built_again(cache, read, fresh, damage):
    assert read() == []
    entry = only_entry(cache)
    DAMAGE[damage](entry)
    assert read() == ["a damaged entry of the volume cache is built again"]
    assert torch.equal(load_tensors(entry)[0]["image"], fresh)
    assert not entry.is_symlink()
    assert read() == []


def test_the_entry_of_another_volume_is_not_taken(cache, read, fresh, shared_folder, phantom):
    read()
    own = only_entry(cache)
    other = nibabel.Nifti1Image(phantom.get_fdata()[::-1], phantom.affine)
    nibabel.save(other, shared_folder / "other.nii.gz")
    cache.get(shared_folder / "other.nii.gz", "there")
    (theirs,) = set(cache.folder.iterdir()) - {own}
    shutil.copy(theirs, own)
    assert read() == ["a damaged entry of the volume cache is built again"]
    assert torch.equal(load_tensors(own)[0]["image"], fresh)


def test_one_warning_for_many_damaged_entries(cache, read):
    for expected in (1, 0, 0):
        read()
        flip(only_entry(cache))
        assert len(read()) == expected


def test_a_folder_in_the_place_of_an_entry_stays(cache, read):
    read()
    entry = only_entry(cache)
    entry.unlink()
    entry.mkdir()
    (entry / "notes.txt").write_text("mine")
    assert read() == [module._MESSAGES[module._READ].format(reason="Is a directory")]
    assert read() == []
    assert (entry / "notes.txt").read_text() == "mine"
    assert [path.name for path in cache.folder.iterdir()] == [entry.name]


def test_an_entry_of_another_user_stays(cache, read, another_user):
    read()
    entry = only_entry(cache)
    content = entry.read_bytes()
    entry.chmod(0o600)
    cache.folder.chmod(0o777)  # so that it could be replaced
    with another_user():
        (warning,) = read()
    assert "cannot be read (Permission denied)" in warning
    assert entry.read_bytes() == content
    assert (entry.stat().st_uid, entry.stat().st_mode & 0o777) == (0, 0o600)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_an_entry_of_a_failing_disk_stays(cache, read, monkeypatch, number):
    read()
    content = only_entry(cache).read_bytes()

    def load(path):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(module, "load_tensors", load)
        (warning,) = read()
    assert f"cannot be read ({os.strerror(number)})" in warning
    assert only_entry(cache).read_bytes() == content


def test_a_folder_of_another_user_is_read(cache, read, another_user, shared_folder, fresh, source):
    read()
    cache.folder.chmod(0o755)
    with another_user():
        theirs = VolumeCache(cache.folder, PREPROCESSING)
        assert read(theirs) == []
        finer = VolumeCache(cache.folder, Preprocessing((4.0, 4.0, 4.0), (16, 18, 15)))
        assert finer.get(source, "here").shape == SHAPE
    assert len(list(cache.folder.iterdir())) == 1


def test_a_folder_that_can_only_be_read_is_one_warning(cache, another_user, source, caplog):
    cache.folder.chmod(0o755)
    with another_user():
        theirs = VolumeCache(cache.folder, PREPROCESSING)
        theirs.get(source, "here")
    (warning,) = [record.message for record in caplog.records]
    assert "cannot be written to (Permission denied): what it holds is used" in warning


def test_a_path_that_can_be_no_folder_is_an_error_at_the_start(source):
    with pytest.raises(ValueError, match=r"cannot write to the folder .*: Not a directory"):
        VolumeCache(source / "cache", PREPROCESSING)
    with pytest.raises(ValueError, match=r"cannot write to the folder .*: File exists"):
        VolumeCache(source, PREPROCESSING)


def test_a_folder_that_can_be_neither_read_nor_made_is_one_warning(
    cache, another_user, source, fresh, caplog
):
    cache.folder.chmod(0o700)
    for folder in (cache.folder, cache.folder / "below"):
        caplog.clear()
        with another_user():
            theirs = VolumeCache(folder, PREPROCESSING)
            assert torch.equal(theirs.get(source, "here"), fresh)
        (warning,) = [record.message for record in caplog.records]
        assert "the volume cache cannot be used (Permission denied): volumes are" in warning


def test_a_folder_that_finds_no_room_is_one_warning(source, fresh, tmp_path, monkeypatch, caplog):
    def no_room(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", no_room)
    assert torch.equal(VolumeCache(tmp_path / "c", PREPROCESSING).get(source, "here"), fresh)
    (warning,) = [record.message for record in caplog.records]
    assert "the volume cache cannot be used (No space left on device)" in warning


def test_a_full_disk_is_one_warning(cache, read, limit_file_size):
    with limit_file_size(10_000):
        assert read() == [module._MESSAGES[module._WRITE].format(reason="File too large")]
        assert read() == []
    assert list(cache.folder.iterdir()) == []
    assert read() == []
    assert list(cache.folder.iterdir()) == []  # the room may be what a checkpoint needs
    assert read(VolumeCache(cache.folder, PREPROCESSING)) == []
    assert len(list(cache.folder.iterdir())) == 1


def test_a_deleted_folder_is_one_warning(cache, read):
    shutil.rmtree(cache.folder)
    (warning,) = read()
    assert "could not be kept in the volume cache (No such file or directory)" in warning
    assert read() == []
    cache.folder.write_text("a file in its place")
    assert len(read()) <= 1


def test_workers_of_all_epochs_warn_once(write_set, row, tmp_path, capfd):
    manifest = read_manifest(write_set([row(name) for name in "abcd"]))
    dataset = VolumeDataset(manifest, PREPROCESSING, cache=tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    handler = logging.StreamHandler()
    handler.setStream(os.fdopen(os.dup(2), "w"))  # which workers write to as well
    logging.getLogger("selip_core").addHandler(handler)
    try:
        for _ in range(2):
            loader = DataLoader(dataset, num_workers=1, multiprocessing_context="fork")
            assert sum(len(batch["index"]) for batch in loader) == 4
    finally:
        logging.getLogger("selip_core").removeHandler(handler)
        handler.stream.close()
    assert capfd.readouterr().err.count("could not be kept") == 1


def test_what_killed_writers_left_is_removed_after_a_day(cache):
    old, new = (cache.folder / f".partial-0123456789a{end}-entry.safetensors" for end in "bc")
    for path in (old, new):
        path.mkdir()
    os.utime(old, (1, 1))
    VolumeCache(cache.folder, PREPROCESSING)
    assert list(cache.folder.iterdir()) == [new]


def test_two_writers_of_one_entry_leave_it_whole(cache, fresh, source):
    context = torch.multiprocessing.get_context("fork")
    others = [context.Process(target=cache.get, args=(source, "here")) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert torch.equal(load_tensors(only_entry(cache))[0]["image"], fresh)
