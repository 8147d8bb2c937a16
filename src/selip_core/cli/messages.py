"""What ``selip`` shows on standard error: one form for errors, warnings and logs."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, TextIO


class UnfailingStream:
    """A text stream whose writing fails in silence: a message lost must not end the work.

    Standard error fails when its terminal was closed, the program that reads it ended, or the disk
    of its file is full.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def unfailing_stderr() -> Iterator[None]:
    """Keep messages and progress bars from ending the work in the block."""
    with redirect_stderr(UnfailingStream(sys.stderr)):
        yield


def open_closed_streams() -> None:
    """Open standard streams that the process was started without (``2>&-``), as nothing.

    Else the next file that is opened gets the number of one, and messages are written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def tell(kind: str, message: str) -> None:
    """Write ``selip: kind: message``."""
    print(f"selip: {kind}: {message}", file=sys.stderr)


@contextmanager
def plain_messages(verbose: bool) -> Iterator[None]:
    """Show warnings and logs as users read them, without the line of Python they come from.

    Args:
        verbose: Show also what is being done, and where a warning comes from.
    """

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        tell("warning", str(message))
        if verbose:
            tell("info", f"that warning is a {category.__name__} of {filename}:{lineno}")

    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    before = threading.excepthook
    threading.excepthook = _show_failed_thread
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        threading.excepthook = before


def _show_failed_thread(failure: threading.ExceptHookArgs) -> None:
    """Show the type of an error in a thread, say of a tracker; its traceback can hold values."""
    tell("warning", f"a background thread failed: {failure.exc_type.__name__}")
    if failure.exc_value is not None:
        logging.getLogger(__name__).info("it came from here", exc_info=failure.exc_value)


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # of logging
        return f"selip: {record.levelname.lower()}: {record.message}"
