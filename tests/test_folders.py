"""Output folders: an error before any work is done for them."""

import pytest

from selip_core.folders import is_readable, require_writable


def test_a_folder_is_made_and_left_empty(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_full_disk_is_found_before_the_work(tmp_path, limit_file_size):
    message = r"cannot write to the folder .*: File too large; make room or choose another folder"
    with limit_file_size(100), pytest.raises(ValueError, match=message):
        require_writable(tmp_path)


def test_a_folder_of_another_user_is_refused(shared_folder, another_user):
    shared_folder.chmod(0o755)
    with another_user():
        with pytest.raises(ValueError, match="Permission denied; choose another folder"):
            require_writable(shared_folder)
        with pytest.raises(ValueError, match="Permission denied; choose another folder"):
            require_writable(shared_folder / "run")
        assert is_readable(shared_folder)


def test_a_folder_without_the_right_to_enter_is_not_readable(shared_folder, another_user):
    (shared_folder / "file").touch()
    shared_folder.chmod(0o744)
    with another_user():
        assert not is_readable(shared_folder)
    assert is_readable(shared_folder)
    assert not is_readable(shared_folder / "file")
