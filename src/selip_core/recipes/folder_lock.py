"""The lock of an output folder: one process at a time writes there.

The lock is the operating system's, so it is free as soon as its process has ended, however it
ended. Its file says who holds it. Of a run on several ranks, rank 0 holds the lock.
"""

import errno
import json
import logging
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from selip_core.errors import WriteError
from selip_core.files import writing

LOCK = "run.lock"
"""Name of the file in the folder."""

_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_FRESH_SECONDS = 3600.0
_descriptors: set[int] = set()
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        host: Name of its machine.
        process: Its id there.
        started: Local time at which it took the lock.
        token: Random; no two holders share one.
    """

    host: str
    process: int
    started: str
    token: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} (since {self.started})"

    @classmethod
    def this_process(cls) -> "Holder":
        """Return a holder for the running process."""
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(socket.gethostname(), os.getpid(), started, uuid.uuid4().hex)


class FolderLock:
    """A lock that is held; made by :func:`lock_folder`.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LOCK
        self._holder = Holder.this_process()
        self._descriptor = -1
        self._acquire()

    def confirm(self) -> None:
        """Check just before a write that the folder is there and still this process's.

        It may not be, where a file system keeps the locks of each machine apart.

        Raises:
            BlockingIOError: If another process took the folder over.
            WriteError: If the folder was deleted or cannot be read.
        """
        if not self._folder.is_dir():
            raise WriteError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(self._folder))
        found = _read(self._path)
        if found is None:  # the lock's file alone was deleted
            self._close()
            self._acquire()
        elif found.token != self._holder.token:
            raise BlockingIOError(
                f"{found} took over {self._folder}, and this run stops before it writes there "
                "again; the locks of this file system do not reach across machines"
            )
        with suppress(OSError):
            os.utime(self._path)  # a sign of life for other machines

    def release(self) -> None:
        """Free the lock and remove its file, unless another process took it over."""
        with suppress(OSError):
            found = _read(self._path)
            if found is not None and found.token == self._holder.token:
                self._path.unlink()
        self._close()

    def _acquire(self) -> None:
        while self._descriptor < 0:
            with writing(self._path):
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            _descriptors.add(descriptor)
            self._descriptor = descriptor
            try:
                has_locks = self._try_lock()
                if not self._is_current():  # its holder removed the file in the meantime
                    self._close()
                    continue
                self._take_over(_read(self._path), has_locks)
                self._write()
            except BaseException:
                self._close()
                raise

    def _try_lock(self) -> bool:
        try:
            return _try_lock(self._descriptor)
        except OSError as error:
            if error.errno in _HELD:
                raise BlockingIOError(_in_use(self._folder, _read(self._path))) from None
            raise

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _take_over(self, before: Holder | None, has_locks: bool) -> None:
        """Say whose lock was left; without locks, refuse while its process is alive."""
        if not has_locks:
            if before is not None and _is_alive(before):
                raise BlockingIOError(
                    f"{_in_use(self._folder, before)}; if that process is another program by now, "
                    f"delete {LOCK} there"
                )
            _logger.warning(
                "the file system of %s has no locks: make sure yourself that no other run writes "
                "there",
                self._folder,
            )
        if before is None:
            return
        _logger.warning(
            "%s was left by %s, which did not end by itself; this run takes it over",
            self._folder,
            before,
        )
        age = time.time() - self._path.stat().st_mtime
        if before.host != self._holder.host and age < _FRESH_SECONDS:
            _logger.warning(
                "that process showed a sign of life %d minutes ago on another machine: if it still "
                "runs, stop one of the two, as locks may not reach across machines here",
                age // 60,
            )

    def _write(self) -> None:
        with writing(self._path):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, json.dumps(asdict(self._holder)).encode())
            os.fsync(self._descriptor)

    def _close(self) -> None:
        if self._descriptor in _descriptors:
            _descriptors.discard(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = -1


@contextmanager
def lock_folder(folder: Path) -> Iterator[FolderLock]:
    """Hold the lock of a folder during the block.

    A lock that a killed process left is taken over, with a warning that says whose it was. Where
    the file system has no locks there is a warning too.

    Args:
        folder: The folder; it is there.

    Raises:
        BlockingIOError: If another process holds it; the message names its machine and id.
        WriteError: If the file of the lock cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with lock_folder(folder), lock_folder(folder):
        ...     pass
        Traceback (most recent call last):
        ...
        BlockingIOError: ... is in use: process ... on ... (since ...) writes there; wait until it
        has ended or stop it, or name another folder
    """
    lock = FolderLock(folder)
    try:
        yield lock
    finally:
        lock.release()


def _in_use(folder: Path, holder: Holder | None) -> str:
    who = "another process" if holder is None else str(holder)
    return (
        f"{folder} is in use: {who} writes there; wait until it has ended or stop it, or name "
        "another folder"
    )


def _try_lock(descriptor: int) -> bool:
    """Lock without waiting; return False where the file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond what others read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _read(path: Path) -> Holder | None:
    """Return who a lock's file names; None where that is missing or half-written."""
    with suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    return None


def _is_alive(holder: Holder) -> bool:
    if holder.host != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(holder.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _close_in_child() -> None:
    """A forked reader of volumes must not keep the lock of a killed training process."""
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_close_in_child)
