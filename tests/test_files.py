import errno
import os
import time

import pytest

from selip_core.errors import WriteError
from selip_core.files import (
    atomic_folder,
    atomic_path,
    remove_partial_files,
    replaced_folder,
    writing,
)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interruption_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "result.json"
    target.write_text("old")

    def write_half():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert target.read_text() == "old"


def test_target_is_absent_until_the_block_ends(tmp_path):
    target = tmp_path / "volume.nii.gz"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent.parent == target.parent
    assert target.read_bytes() == b"whole"


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with atomic_path(pipe) as temporary:
        temporary.write_text("words")
    assert os.read(reader, 10) == b"words"
    os.close(reader)
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(WriteError, match=r"No such file.*a'"), atomic_path(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_an_error(tmp_path):
    target = tmp_path / "none" / "a"
    with pytest.raises(WriteError, match="No such file") as caught, atomic_path(target):
        pass
    assert caught.value.filename == str(target)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_folder_leaves_nothing(tmp_path, error):
    def write_half():
        with atomic_folder(tmp_path / "model") as temporary:
            (temporary / "weights").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_folder_is_absent_until_the_block_ends(tmp_path):
    target = tmp_path / "run" / "model"
    with atomic_folder(target) as temporary:
        (temporary / "text").mkdir()
        (temporary / "text" / "a").write_text("whole")
        assert not target.exists()
    assert (target / "text" / "a").read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_folder_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "old").write_text("old")
    with pytest.raises(OSError, match=tmp_path.name), atomic_folder(tmp_path) as temporary:
        (temporary / "new").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


class SafetensorError(Exception):
    """Stands in for the class of safetensors, which is known by its name."""


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (OSError("encoder error -2 when writing image file"), errno.EIO),
        (SafetensorError("I/O error: File too large (os error 27)"), errno.EFBIG),
        (SafetensorError("failed to write whole buffer"), errno.EIO),
        (Exception("No space left on device (os error 28)"), errno.ENOSPC),
    ],
)
@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_failed_write_names_the_target_and_the_reason(tmp_path, atomic, error, number):
    with pytest.raises(WriteError) as caught, atomic(tmp_path / "target"):
        raise error
    assert caught.value.errno == number
    assert caught.value.filename == str(tmp_path / "target")
    assert ".partial-" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_another_file_is_no_failed_write(tmp_path):
    with pytest.raises(FileNotFoundError, match="source"), atomic_path(tmp_path / "target"):
        (tmp_path / "source").read_bytes()
    with pytest.raises(ConnectionError), atomic_path(tmp_path / "target"):
        raise ConnectionError("the hub is not in reach")
    with pytest.raises(KeyError), writing(tmp_path / "target"):
        raise KeyError("tensor")


def test_folders_above_that_cannot_be_made_are_a_failed_write(tmp_path):
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "run" / "model"
    with pytest.raises(WriteError, match="Not a directory") as caught, atomic_folder(target):
        pass
    assert caught.value.filename == str(target)


def test_a_folder_in_the_place_of_a_file_is_a_failed_write(tmp_path):
    target = tmp_path / "history.jsonl"
    target.mkdir()
    message = r"Is a directory: '.*/history\.jsonl'"
    with pytest.raises(WriteError, match=message), atomic_path(target) as temporary:
        temporary.write_text("{}")


def test_names_as_long_as_the_file_system_takes_can_be_written(tmp_path):
    name = "病" * 80 + "a" * 10 + ".json"
    assert len(name.encode()) == 255
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("{}")
    with atomic_folder(tmp_path / name[1:]) as temporary:
        (temporary / "a").touch()
    assert {path.name for path in tmp_path.iterdir()} == {name, name[1:]}


def test_a_folder_is_replaced_only_when_asked(tmp_path):
    target = tmp_path / "similarity"
    for content in ("old", "new"):
        with atomic_folder(target, replace=target.exists()) as temporary:
            (temporary / content).touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_swap_left_is_found(tmp_path):
    target = tmp_path / "similarity"
    assert replaced_folder(target) is None
    old = tmp_path / ".old-0123456789ab-similarity"
    old.mkdir()
    (tmp_path / ".old-0123456789ab-other").mkdir()
    assert replaced_folder(target) == old
    target.mkdir()
    assert replaced_folder(target) is None


def test_what_killed_processes_left_is_removed(tmp_path):
    for name in (".partial-0123456789ab-a.json", ".new-0123456789ab-s", ".old-0123456789ab-s"):
        (tmp_path / name / "inner").mkdir(parents=True)
    (tmp_path / ".partial-0123456789ac-b.json").touch()  # a file, as earlier versions wrote them
    kept = {"s", ".partial", ".partial-draft", ".old-notes", "a.partial-0123456789ab"}
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / ".partial-0123456789ad-link").symlink_to(tmp_path / "s")
    assert remove_partial_files(tmp_path) == 4
    assert {path.name for path in tmp_path.iterdir()} == kept | {".partial-0123456789ad-link"}
    assert remove_partial_files(tmp_path / "none") == 0


def test_what_was_replaced_by_nothing_gets_its_name_back(tmp_path):
    (tmp_path / ".old-0123456789ab-similarity" / "inner").mkdir(parents=True)
    assert remove_partial_files(tmp_path) == 1
    assert (tmp_path / "similarity" / "inner").is_dir()
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_running_process_writes_stays(tmp_path):
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "inner").touch()
        long_ago = time.time() - 10 * 86400
        os.utime(temporary, (long_ago, long_ago))
        assert remove_partial_files(tmp_path, minimum_age=86400) == 0  # inner is new
        os.utime(temporary / "inner", (long_ago, long_ago))
        os.utime(temporary, (long_ago, long_ago))
        old = tmp_path / ".partial-0123456789ab-model"
        temporary.rename(old)
        assert remove_partial_files(tmp_path, minimum_age=86400) == 1
        temporary.mkdir()
