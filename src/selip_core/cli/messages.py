"""Standard streams of ``selip``, and one form for its errors, warnings and logs."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from io import TextIOWrapper
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


def escape_missing_characters() -> None:
    r"""Write a character that the encoding of standard output or error lacks as ``\u...``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(kind: str, message: str) -> None:
    """Write ``selip: kind: message``."""
    print(f"selip: {kind}: {message}", file=sys.stderr)


@contextmanager
def plain_messages(verbose: bool) -> Iterator[None]:
    """Show warnings and logs as users read them, without the line of Python they come from.

    Those of other packages may quote a path or a text. Without ``verbose`` only their kind and the
    package are shown; this holds for handlers that a package brings along, too.

    Args:
        verbose: Show also what is being done, where warnings come from, and others' messages.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    handler.addFilter(lambda record: not getattr(record, "is_repeated", False))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    make_record, show_failed_thread = logging.getLogRecordFactory(), threading.excepthook
    messages = _Messages(verbose, make_record)
    logging.setLogRecordFactory(messages.make_record)
    threading.excepthook = _show_failed_thread
    try:
        with warnings.catch_warnings():
            warnings.showwarning = messages.show_warning
            yield
    finally:
        logging.setLogRecordFactory(make_record)
        threading.excepthook = show_failed_thread


_OWN = ("selip_core", "__main__")
"""Packages whose messages hold no value from the data, and the program that calls ``main``."""


def _warning_package() -> str:
    """Return the package whose code warns; ``stacklevel`` may name another one as the place."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") in (__name__, "warnings", "_py_warnings"):
        if frame.f_back is None:
            return "Python"
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")).partition(".")[0]


class _Messages:
    """Warnings and log records, of which those of other packages lose their text.

    Args:
        verbose: Keep every text.
        make_record: The usual factory of log records.
    """

    def __init__(self, verbose: bool, make_record: Callable[..., logging.LogRecord]) -> None:
        self._verbose = verbose
        self._make_record = make_record
        self._hidden: set[tuple[str, str]] = set()

    def show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Show a warning, in place of ``warnings.showwarning``."""
        package = _warning_package()
        if self._verbose or package in _OWN:
            show("warning", str(message))
        elif self._is_first(package, category.__name__):
            show("warning", f"{category.__name__} of {package}; selip --verbose shows its text")
        if self._verbose:
            show("info", f"that warning is a {category.__name__} of {filename}:{lineno}")

    def make_record(self, *arguments: Any, **keywords: Any) -> logging.LogRecord:
        """Return a log record, which every handler shows."""
        record = self._make_record(*arguments, **keywords)
        package = record.name.partition(".")[0]
        if not self._verbose and package not in _OWN:
            record.msg = f"log message of {package}; selip --verbose shows its text"
            record.args, record.exc_info, record.exc_text, record.stack_info = (), None, None, None
            record.is_repeated = not self._is_first(package, record.levelname)
        return record

    def _is_first(self, package: str, kind: str) -> bool:
        is_first = (package, kind) not in self._hidden
        self._hidden.add((package, kind))
        return is_first


def _show_failed_thread(failure: threading.ExceptHookArgs) -> None:
    """Show the type of an error in a thread, such as a tracker's; its traceback can hold values."""
    show("warning", f"a background thread failed: {failure.exc_type.__name__}")
    if failure.exc_value is not None:
        logging.getLogger(__name__).info("it came from here", exc_info=failure.exc_value)


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # of logging
        return f"selip: {record.levelname.lower()}: {record.message}"
