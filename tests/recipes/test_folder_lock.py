import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from selip_core.errors import WriteError
from selip_core.recipes import folder_lock
from selip_core.recipes.folder_lock import LOCK, lock_folder

HOLD = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("folder_lock", sys.argv[1])  # the package is slow
module = sys.modules["folder_lock"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with module.lock_folder(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder_lock.__file__, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def write_holder(folder, process, host=None):
    content = {"host": host or socket.gethostname(), "process": process, "started": "noon"}
    (folder / LOCK).write_text(json.dumps(content | {"token": "theirs"}))


def fail_with(monkeypatch, number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fail)


def test_a_second_process_is_refused_and_a_killed_one_is_replaced(other, tmp_path, caplog):
    expected = rf"{tmp_path} is in use: process {other.pid} on {socket.gethostname()} \(since"
    with pytest.raises(BlockingIOError, match=expected), lock_folder(tmp_path):
        pass
    assert caplog.text == ""
    other.send_signal(signal.SIGKILL)
    other.wait()
    with lock_folder(tmp_path) as lock:
        assert f"was left by process {other.pid} on {socket.gethostname()}" in caplog.text
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
        lock.confirm()
    assert list(tmp_path.iterdir()) == []


def test_two_locks_of_one_process_exclude_each_other(tmp_path):
    with lock_folder(tmp_path):
        with (
            pytest.raises(BlockingIOError, match=f"in use: process {os.getpid()} "),
            lock_folder(tmp_path),
        ):
            pass
        assert (tmp_path / LOCK).exists()
    with lock_folder(tmp_path):
        pass


def test_a_reader_that_outlives_its_training_does_not_keep_the_lock(tmp_path):
    reading, writing = os.pipe()
    with lock_folder(tmp_path) as lock:
        child = os.fork()
        if child == 0:
            os.write(writing, b"1")
            time.sleep(10)
            os._exit(0)
        os.read(reading, 1)
        os.close(lock._descriptor)  # as a kill would
        folder_lock._descriptors.discard(lock._descriptor)
        with lock_folder(tmp_path):
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, caplog, number):
    fail_with(monkeypatch, number)
    with lock_folder(tmp_path):
        assert "has no locks: make sure yourself" in caplog.text


def test_without_locks_a_living_process_counts(tmp_path, monkeypatch):
    fail_with(monkeypatch, errno.ENOLCK)
    write_holder(tmp_path, os.getppid())
    expected = rf"in use: process {os.getppid()} .*another program by now, delete run.lock"
    with pytest.raises(BlockingIOError, match=expected), lock_folder(tmp_path):
        pass
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    write_holder(tmp_path, done.pid)
    with lock_folder(tmp_path):
        pass


def test_a_holder_on_another_machine_is_a_warning(tmp_path, caplog):
    write_holder(tmp_path, 7, host="node17")
    with lock_folder(tmp_path):
        assert "left by process 7 on node17" in caplog.text
        assert "a sign of life 0 minutes ago on another machine" in caplog.text
    caplog.clear()
    write_holder(tmp_path, 7, host="node17")
    os.utime(tmp_path / LOCK, (0, 0))
    with lock_folder(tmp_path):
        assert "sign of life" not in caplog.text


def test_a_run_that_was_taken_over_stops_before_it_writes(tmp_path):
    with lock_folder(tmp_path) as lock:
        write_holder(tmp_path, 7, host="node17")
        with pytest.raises(BlockingIOError, match=r"process 7 on node17 .*took over"):
            lock.confirm()
    assert (tmp_path / LOCK).exists()  # it is theirs


def test_a_deleted_lock_is_taken_again(tmp_path):
    with lock_folder(tmp_path) as lock:
        (tmp_path / LOCK).unlink()
        lock.confirm()
        with pytest.raises(BlockingIOError, match="in use"), lock_folder(tmp_path):
            pass


def test_a_deleted_folder_is_named(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with lock_folder(folder) as lock:
        (folder / LOCK).unlink()
        folder.rmdir()
        with pytest.raises(WriteError, match=r"No such file or directory.*run"):
            lock.confirm()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 3}', "\0" * 40])
def test_a_damaged_file_of_a_lock_does_no_harm(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    with lock_folder(tmp_path) as lock:
        lock.confirm()


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / LOCK).mkdir()
    with pytest.raises(WriteError, match=r"Is a directory.*run.lock"), lock_folder(tmp_path):
        pass
