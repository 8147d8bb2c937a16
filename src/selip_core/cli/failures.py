"""Messages and exit codes of failed commands: the cause and what to do."""

import errno
import os
import traceback
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path

from selip_core.errors import WriteError

BAD_INPUT = 2
CRASH = 70
"""EX_SOFTWARE of sysexits.h; never 1, which means that a command found problems in the data."""

_PACKAGE = Path(__file__).parents[1]
_ONLY_WRITES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Reasons that only writing has."""

_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room within your quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or use another file system",
    errno.EROFS: "make the file system writable, or use another",
    errno.EACCES: "get permission to write there",
    errno.EPERM: "get permission to write there",
    errno.ENOENT: "its folder is gone: bring it back, or mount its disk again",
    errno.ESTALE: "its folder is gone: bring it back, or mount its disk again",
    errno.EIO: "check the disk",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def explain(error: Exception, go_on: str | Callable[[], str] | None = None) -> tuple[int, str]:
    """Return the exit code and the message of an error.

    Of a bug in this package only type and place are shown: the text of an unexpected error can
    hold values of the data.

    Args:
        error: What ended the command.
        go_on: How to go on once the cause is gone, or a function that returns it; by default the
            command is run again.

    Example:
        >>> explain(WriteError(errno.ENOSPC, "No space left on device", "run/history.jsonl"))
        (2, 'cannot write run/history.jsonl: No space left on device; make room and run it again')
        >>> explain(FileNotFoundError(errno.ENOENT, "No such file or directory", "m.jsonl"))
        (2, 'm.jsonl: No such file or directory; is the path right?')
    """
    again = (go_on() if callable(go_on) else go_on) or "run it again"
    if isinstance(error, WriteError) or (
        isinstance(error, OSError) and error.errno in _ONLY_WRITES
    ):
        return BAD_INPUT, _about_write(error, again)
    if _lacks_memory(error):
        return BAD_INPUT, _about_memory(error, again)
    if isinstance(error, ChildProcessError):
        return BAD_INPUT, f"{error}; then {again}"
    if isinstance(error, BrokenExecutor):
        return BAD_INPUT, f"a worker process was killed, as memory was short most likely; {again}"
    if isinstance(error, OSError) and error.filename is not None and error.filename2 is None:
        return BAD_INPUT, f"{os.fsdecode(error.filename)}: {error.strerror}; is the path right?"
    if isinstance(error, ValueError | OSError | ImportError):
        return BAD_INPUT, str(error)
    return CRASH, _about_crash(error)


def _about_write(error: OSError, again: str) -> str:
    place = "" if error.filename is None else f" {os.fsdecode(error.filename)}"
    reason = error.strerror or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "remove the cause")
    return f"cannot write{place}: {reason}; {remedy} and {again}"


def _lacks_memory(error: Exception) -> bool:
    # torch's error for GPUs by its name, as importing torch for it would take seconds.
    names = {each.__name__ for each in type(error).__mro__}
    text = str(error) if isinstance(error, RuntimeError) else ""
    return (
        isinstance(error, MemoryError)
        or "OutOfMemoryError" in names
        or "DefaultCPUAllocator" in text
        or getattr(error, "errno", None) == errno.ENOMEM
    )


def _about_memory(error: Exception, again: str) -> str:
    of_gpu = "OutOfMemoryError" in {each.__name__ for each in type(error).__mro__}
    memory = "the memory of the GPU" if of_gpu else "memory"
    return (
        f"{memory} is short, at {_place(error)}; set data.batch_size, data.size or data.workers "
        f"lower, or use a machine with more memory, and {again}"
    )


def _about_crash(error: Exception) -> str:
    return (
        f"an unexpected {type(error).__name__} at {_place(error)}, probably a bug in "
        "selip-core: please report the type and the place. 'selip -v COMMAND ...' shows the "
        "traceback, which can hold values of the data"
    )


def _place(error: Exception) -> str:
    """Return file and line of the innermost code of this package."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE):
            return f"{path.relative_to(_PACKAGE.parent).as_posix()}:{frame.lineno}"
    return "an unknown place"
