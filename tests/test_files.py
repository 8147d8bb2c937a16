import pytest

from selip_core.files import atomic_folder, atomic_path


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
        assert temporary.parent == target.parent
    assert target.read_bytes() == b"whole"


def test_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        pass


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "none" / "a") as temporary:
        temporary.write_text("x")


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
