"""Volumes that cannot be used: the error of all readers, its causes, and the limit of size."""

import errno
import os
import stat
from pathlib import Path

from selip_core.data.memory import VOLUME_MEMORY

LIMIT_VARIABLE = "SELIP_MAX_VOLUME_GIB"
"""Environment variable with the largest unpacked size of a volume, in GiB."""

DEFAULT_LIMIT_GIB = 2.0


class UnusableVolumeError(Exception):
    """The message says what was needed, what came and what to do, without path or value."""


def limit_bytes(setting_gib: float | None = None) -> int:
    """Return the largest unpacked size of a volume, in bytes.

    Args:
        setting_gib: The user's setting in GiB; None takes the environment variable, or 2 GiB.

    Raises:
        ValueError: If the setting or the variable is no positive number.
    """
    if setting_gib is None:
        source, text = LIMIT_VARIABLE, os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GIB)
    else:
        source, text = "max_volume_gib", str(setting_gib)
    try:
        gib = float(text)
    except ValueError:
        gib = 0.0
    if not 0 < gib < float("inf"):
        raise ValueError(f"{source} must be a positive number of GiB, got {text}")
    return int(gib * 2**30)


def require_size(unpacked: int, limit: int) -> None:
    """Refuse a volume that unpacks to more than the limit, before its voxels are read.

    Within the limit, wait until other threads leave enough memory for it.

    Args:
        unpacked: Bytes of its voxels in their type in the file or in float32, whichever is larger.
        limit: Bytes, see :func:`limit_bytes`.

    Raises:
        UnusableVolumeError: If it is larger.
    """
    if unpacked > limit:
        raise UnusableVolumeError(
            f"unpacks to {unpacked / 2**30:,.1f} GiB, more than the limit of {limit / 2**30:g} "
            "GiB; if its header is right, raise data.max_volume_gib or the "
            f"environment variable {LIMIT_VARIABLE}"
        )
    VOLUME_MEMORY.admit(unpacked)


def require_file(mode: int) -> None:
    """Refuse what is no regular file: opening a pipe waits, and reading a device may never end.

    Args:
        mode: As ``stat`` gives it.

    Raises:
        UnusableVolumeError: If it is a device, a pipe or a socket.
    """
    if not stat.S_ISREG(mode):
        raise UnusableVolumeError("is a device or a pipe, not a file; copy it to a file")


def describe_failure(error: Exception, was_read: bool = False) -> str:
    """Return the cause and the remedy for an exception that was not raised on purpose.

    Args:
        error: By a reader, or by what follows it.
        was_read: The file had been read by then, so that it is not the cause.
    """
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return (
            "needs more memory than there is; close other programs, read fewer volumes at a time "
            "(workers), or lower data.max_volume_gib so that large ones are refused"
        )
    if was_read:
        return (
            f"was read, but cannot be preprocessed ({type(error).__name__}), probably by a bug in "
            "selip-core: please report the type"
        )
    return (
        f"cannot be read ({type(error).__name__}): truncated, damaged, or neither NIfTI nor a "
        "DICOM folder; copy or convert it again"
    )


def describe_os_error(error: OSError, path: Path) -> str:
    """Return the cause and the remedy for a volume that the operating system could not read.

    Args:
        error: As it was raised.
        path: The volume; the message does not name it.

    Example:
        >>> describe_os_error(FileNotFoundError(errno.ENOENT, "No such file"), Path("a.nii"))
        'there is no such file or folder'
    """
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if path.is_symlink():
            return "is a symbolic link to a file that is missing; restore its target"
        return "there is no such file or folder"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "may not be read by this user (permission denied); change its owner or its mode"
    if error.errno == errno.ELOOP:
        return "is a symbolic link that leads back to itself; link it to the file"
    if error.errno is None:
        return describe_failure(error)
    text = os.strerror(error.errno)
    return f"the system failed to read it ({text}, {errno.errorcode.get(error.errno)}); try again"
