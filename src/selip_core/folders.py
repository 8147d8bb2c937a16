"""Output folders, checked before any work is done for them."""

import errno
import os
import tempfile
from pathlib import Path

_BLOCK = b"\0" * 4096
_OTHER = "choose another folder"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WRONG_PATH = {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Make the folder if it is missing, and check that it takes a file of one block.

    Raises:
        ValueError: If it cannot be made or written to, or has no room.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> _ = file.write_text("mine")
        >>> require_writable(file / "run")
        Traceback (most recent call last):
        ...
        ValueError: cannot write to the folder .../notes.txt/run: Not a directory; choose another
        folder
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())  # network file systems report only now that they are full
    except OSError as error:
        remedy = f"make room or {_OTHER}" if error.errno in _FULL else _OTHER
        raise ValueError(
            f"cannot write to the folder {os.fspath(folder)}: {error.strerror}; {remedy}"
        ) from error


def is_readable(folder: str | os.PathLike[str]) -> bool:
    """Return whether the files of a folder can be listed and opened, as far as the folder goes.

    Example:
        >>> is_readable(tempfile.mkdtemp()), is_readable("nowhere")
        (True, False)
    """
    try:
        for path in Path(folder).iterdir():
            path.lstat()
            break
    except OSError:
        return False
    return True


def is_wrong_path(error: ValueError) -> bool:
    """Return whether an error of :func:`require_writable` says that the path can be no folder.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> _ = file.write_text("mine")
        >>> try:
        ...     require_writable(file)
        ... except ValueError as error:
        ...     is_wrong_path(error)
        True
    """
    return getattr(error.__cause__, "errno", None) in _WRONG_PATH
