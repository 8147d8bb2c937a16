import errno
import os
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

from selip_core.cli.failures import explain
from selip_core.errors import WriteError


def failed(kind, number, filename=None):
    return kind(number, os.strerror(number), filename)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "No space left on device; make room and"),
        (errno.EDQUOT, "make room within your quota and"),
        (errno.EFBIG, "raise the limit on the size of files"),
        (errno.EROFS, "Read-only file system; make the file system writable"),
    ],
)
@pytest.mark.parametrize("kind", [OSError, WriteError])
def test_what_only_writing_has(number, remedy, kind):
    code, message = explain(failed(kind, number, "run/model"), "go on with --resume")
    assert code == 2
    assert message.startswith("cannot write run/model: ")
    assert remedy in message
    assert message.endswith(" and go on with --resume")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, "Permission denied; get permission to write there"),
        (errno.ENOENT, "No such file or directory; its folder is gone"),
        (errno.ESTALE, "its folder is gone"),
        (errno.EIO, "Input/output error; check the disk"),
    ],
)
def test_what_reading_has_too(number, expected):
    code, message = explain(failed(WriteError, number, "run/model"))
    assert (code, message.endswith(" and run it again")) == (2, True)
    assert f"cannot write run/model: {expected}" in message.replace("Stale file handle; ", "")
    code, message = explain(failed(OSError, number, "manifest.jsonl"))
    assert (code, message) == (
        2,
        f"manifest.jsonl: {os.strerror(number)}; is the path right?",
    )


def cpu_allocator():
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    )


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), "memory is short"),
        (cpu_allocator(), "memory is short"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), "the memory of the GPU is short"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory is short"),
    ],
)
def test_too_little_memory_has_a_remedy(error, memory):
    code, message = explain(error, "go on with --resume")
    assert code == 2
    assert message.startswith(memory)
    assert "set data.batch_size" in message


def test_torch_itself_lacks_memory_in_this_way():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert explain(caught.value)[1].startswith("memory is short")


def test_killed_processes_are_named():
    assert explain(ChildProcessError("a reader was killed"), "go on with --resume") == (
        2,
        "a reader was killed; then go on with --resume",
    )
    code, message = explain(BrokenProcessPool())
    assert (code, message.startswith("a worker process was killed")) == (2, True)


@pytest.mark.parametrize("kind", [RecursionError, TypeError, RuntimeError, AssertionError])
def test_anything_else_is_a_crash_without_values(kind):
    code, message = explain(kind("jane"))
    assert code == 70
    assert kind.__name__ in message
    assert "jane" not in message


@pytest.mark.parametrize("kind", [ValueError, OSError, ImportError])
def test_what_says_what_to_do_is_shown(kind):
    assert explain(kind("what to do")) == (2, "what to do")
