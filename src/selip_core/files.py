"""Files and folders that are written whole or not at all."""

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selip_core.errors import WriteError

_TEMPORARY = re.compile(r"\.(?P<kind>partial|new|old)-[0-9a-f]{12}(-(?P<name>.+))?", re.DOTALL)
_STANDARD_STREAMS = ("/dev/stdout", "/dev/stderr")
_LONGEST_NAME = 255
"""Bytes that a name may have on the usual file systems."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path for ``path``; the file that the block writes there becomes ``path``.

    It has the target's name, since writers choose their format by the suffix, in a temporary folder
    next to the target. The file reaches the disk before it is moved into place. If the block
    raises, Ctrl-C included, the temporary folder is removed and the target stays as it was.

    Of a symbolic link, the file it points to is replaced, or the link if there is none. A device or
    a pipe, such as ``/dev/stdout``, is written to directly.

    Raises:
        WriteError: If the file cannot be written, or the folder of ``path`` is missing, or the
            block wrote nothing.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "result.json"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("{}")
        >>> target.read_text(), len(list(target.parent.iterdir()))
        ('{}', 1)
    """
    if _is_device(Path(path)):
        with writing(path):
            yield Path(path)
        return
    target = Path(path).resolve() if Path(path).exists() else Path(path)  # not of a dangling link
    folder = _sibling(target, "partial")
    temporary = folder / target.name
    try:
        with writing(path, folder):
            folder.mkdir()
            yield temporary
            _flush(temporary)
            temporary.replace(target)
            _flush_folder(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], replace: bool = False) -> Iterator[Path]:
    """Yield a new folder next to ``path``; filled by the block, it becomes ``path``.

    Its files reach the disk before it is moved into place. If the block raises, Ctrl-C included, it
    is removed. Folders above ``path`` are made.

    Args:
        path: A folder that is missing or empty.
        replace: Put the new folder in the place of one that holds files. Processes that have files
            of the old one open keep them. A kill between the two renames leaves the old folder
            under the name that :func:`replaced_folder` finds.

    Raises:
        WriteError: If the folder cannot be written; or if ``path`` is there already, not empty, and
            not ``replace``.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "model"
        >>> with atomic_folder(target) as temporary:
        ...     _ = (temporary / "config.json").write_text("{}")
        >>> [file.name for file in target.iterdir()], len(list(target.parent.iterdir()))
        (['config.json'], 1)
    """
    target = Path(path)
    temporary = _sibling(target, "partial")
    try:
        with writing(target, temporary):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    _flush(Path(folder, name))
                _flush_folder(Path(folder))
            if replace and target.exists():
                _swap(temporary, target)
            else:
                temporary.rename(target)
            _flush_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def writing(target: str | os.PathLike[str], temporary: Path | None = None) -> Iterator[None]:
    """Turn what writers raise for a failed write into a :class:`~selip_core.errors.WriteError`.

    Covers OSErrors that name no file or one of the two, and errors of
    libraries written in Rust (safetensors, tokenizers), which give the number in their text only.
    Errors about other files pass: a source that cannot be read is no failed write.

    Args:
        target: The file or folder as the user knows it.
        temporary: Where it is written until it is complete.

    Raises:
        WriteError: If writing failed.

    Example:
        >>> with writing("run/model"):
        ...     raise Exception("I/O error: No space left on device (os error 28)")
        Traceback (most recent call last):
        ...
        selip_core.errors.WriteError: [Errno 28] No space left on device: 'run/model'
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None or not _concerns(error, Path(target), temporary):
            raise
        raise WriteError(*reason, os.fspath(target)) from error


def replaced_folder(path: str | os.PathLike[str]) -> Path | None:
    """Return the folder that was to be replaced by ``path`` when its writer was killed.

    None where ``path`` is there, or no such folder is. The newest, if there are several.
    """
    target = Path(path)
    if os.path.lexists(target):
        return None
    pattern = re.compile(rf"\.old-[0-9a-f]{{12}}-{re.escape(target.name)}")
    with suppress(OSError):
        found = [one for one in target.parent.iterdir() if pattern.fullmatch(one.name)]
        return max(found, key=lambda one: one.stat().st_mtime_ns, default=None)
    return None


def remove_partial_files(folder: str | os.PathLike[str], minimum_age: float = 0.0) -> int:
    """Remove what killed processes left in a folder while they wrote with this module.

    Removes temporary files and folders, and folders that were replaced; one whose replacement never
    came gets its name back. Files of another user that cannot be removed stay, without an error.

    Args:
        folder: Where to look; folders within it are not searched.
        minimum_age: Seconds since the last change of what is removed. 0 only where no other process
            writes into the folder, under a lock say; a day where several may.

    Returns:
        How many were removed or renamed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".partial-0123456789ab-history.jsonl").mkdir()
        >>> remove_partial_files(folder), list(folder.iterdir())
        (1, [])
    """
    count = 0
    with suppress(OSError):
        for path in sorted(Path(folder).iterdir()):
            found = _TEMPORARY.fullmatch(path.name)
            if found and not path.is_symlink() and _age(path) >= minimum_age:
                count += _remove(path, found["kind"], path.with_name(found["name"] or path.name))
    return count


def _remove(path: Path, kind: str, target: Path) -> bool:
    """Remove a temporary file or folder, or put back what was replaced by nothing."""
    try:
        if kind == "old" and not os.path.lexists(target):
            path.rename(target)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def _age(path: Path) -> float:
    """Seconds since the last change of a file, or of anything in a folder."""
    inner = path.rglob("*") if path.is_dir() else ()
    try:
        newest: float = max(one.lstat().st_mtime for one in (path, *inner))
        return time.time() - newest
    except OSError:  # it is being written or removed
        return 0.0


def _reason(error: Exception) -> tuple[int, str] | None:
    """Return number and words of a failed write; None for another error."""
    if isinstance(error, OSError):
        if error.errno is not None:
            return error.errno, error.strerror or os.strerror(error.errno)
        # Pillow raises a plain OSError without a number; subclasses without one, such as a failed
        # connection, are not about files.
        return (errno.EIO, str(error)) if type(error) is OSError else None
    found = re.search(r"\(os error (\d+)\)", str(error))
    if found is None and type(error).__name__ != "SafetensorError":
        return None
    number = int(found[1]) if found else errno.EIO
    return number, os.strerror(number)


def _concerns(error: Exception, target: Path, temporary: Path | None) -> bool:
    """Whether an error names no file, the target, a folder above it, or a temporary file of it."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str | bytes | os.PathLike):
        return True
    path = Path(os.fsdecode(name))
    is_temporary = temporary is not None and temporary.name in path.parts
    return is_temporary or path == target or path in target.parents


def _is_device(path: Path) -> bool:
    """Whether a path is a device or a pipe, or a name in /dev of what an open file writes to."""
    special = path.exists() and not path.is_file() and not path.is_dir()
    return special or path.is_relative_to("/dev/fd") or os.fspath(path) in _STANDARD_STREAMS


def _sibling(target: Path, kind: str) -> Path:
    """A name in the same folder that nothing else has, with as much of the target's as fits."""
    start = f".{kind}-{uuid.uuid4().hex[:12]}-"
    name = os.fsencode(target.name)[: _LONGEST_NAME - len(start)]
    return target.with_name(start + name.decode(errors="ignore"))


def _swap(new: Path, target: Path) -> None:
    """Put a folder in the place of another."""
    old = _sibling(target, "old")
    try:
        target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _flush_folder(path: Path) -> None:
    """Let new names survive a power cut too, where the file system can."""
    if os.name == "posix":  # Windows opens no folders
        with suppress(PermissionError):  # a folder may be writable and not readable
            _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems flush no folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
