"""Silence around readers of medical formats, whose warnings and logs quote the header they read."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_logger = logging.getLogger(__name__)

_LOGGERS = (
    "pydicom",
    "pydicom.pixels.decoders.base",
    "pydicom.pixels.utils",
    "nibabel.global",
)
"""Loggers that exist as soon as their package is imported, which may be within the silence."""

_PACKAGES = ("pydicom", "nibabel", "PIL", "pylibjpeg", "libjpeg", "openjpeg", "jpeg_ls")


class _Reading(threading.local):
    depth = 0
    hidden = 0


_reading = _Reading()
_readers = 0
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child of fork has no thread that would release it
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


class _OtherPackages:
    """Pattern for modules in ``warnings.filters``: all but ours, while this thread reads."""

    def match(self, module: str) -> bool:
        """Return whether a warning of this module is hidden; called by :mod:`warnings`."""
        if not _reading.depth or module.partition(".")[0] == "selip_core":
            return False
        _reading.hidden += 1
        return True


_FILTER: Any = ("ignore", None, Warning, _OtherPackages(), 0)


def _keep_record(record: logging.LogRecord) -> bool:
    """Return whether a log record of a reader is kept: not while this thread reads."""
    if not _reading.depth:
        return True
    _reading.hidden += record.name != "pydicom"  # which logs each of its warnings as well
    return False


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Hide warnings and log records of other packages while this thread reads a volume.

    ``warnings.catch_warnings`` replaces the filters of the whole process and puts back those that
    it found, so that two threads which enter and leave in turn may leave the filters of one for
    good. Here a single filter is added with the first reader and removed with the last. It matches
    only in threads that are reading: if a ``catch_warnings`` elsewhere brings it back, it hides
    nothing. As it is part of the reading, it works in worker processes however they are started.

    How many messages were hidden is logged as information, without their text.
    """
    global _readers
    with _lock:
        _readers += 1
        if _FILTER not in warnings.filters[:1]:
            warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]  # a list
        _filter_loggers()
    _reading.depth += 1
    try:
        yield
    finally:
        _reading.depth -= 1
        with _lock:
            _readers -= 1
            while not _readers and _FILTER in warnings.filters:
                warnings.filters.remove(_FILTER)  # type: ignore[attr-defined]
        if not _reading.depth and _reading.hidden:
            hidden, _reading.hidden = _reading.hidden, 0
            _logger.info("%d messages of readers hidden, as they may quote the file", hidden)


def _filter_loggers() -> None:
    """Add the filter to the readers' loggers; a filter of a logger does not hold for its children.

    It stays there: outside the reading it keeps every record.
    """
    known = [name for name in list(logging.root.manager.loggerDict) if name.startswith(_PACKAGES)]
    for name in {*_LOGGERS, *known}:
        logging.getLogger(name).addFilter(_keep_record)
