"""Signals that end a program: raised at once, or remembered until the step at hand is done.

Ctrl-C sends SIGINT, schedulers of clusters send SIGTERM, and a terminal that closes sends SIGHUP.
All three are handled in the same way. A signal that the process was started to ignore, by ``nohup``
or in the background of a shell, stays ignored.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""The signals that ask a program to end; Windows has no SIGHUP."""

_raised: list[int] = []
_SAME_SECONDS = 1.0
"""A scheduler may deliver one SIGTERM twice: to the process, and through the script around it."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end.

    Args:
        message: What was saved and how to go on.
        number: The signal.

    Attributes:
        number: The signal.

    Example:
        >>> Interrupted("stopped", signal.SIGTERM).number == signal.SIGTERM
        True
    """

    def __init__(self, message: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number


def signal_of(interrupt: KeyboardInterrupt) -> int:
    """Return the signal behind an interrupt; Python itself raises a plain one for SIGINT."""
    return getattr(interrupt, "number", signal.SIGINT)


@contextmanager
def raised_signals() -> Iterator[Callable[[], int]]:
    """Raise :class:`Interrupted` in the block on any of the three, and yield what arrived, or 0.

    Temporary files are then removed and exit codes returned as after Ctrl-C. Code in between can
    make another error of an interrupt, as the reader of safetensors does, or drop it: then the
    function still returns the signal. Outside the main thread, where signals cannot be caught,
    nothing changes.
    """
    _raised.clear()
    try:
        with _handling(SIGNALS, _raise):
            yield lambda: _raised[0] if _raised else 0
    finally:
        _raised.clear()


@contextmanager
def deferred_signals() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the first signal since the block began, or 0.

    That signal is only remembered, so that an optimizer step is never cut in two. A second one
    raises :class:`Interrupted` at once, except a SIGTERM or SIGHUP within a second of the first,
    which is taken for the same one. A signal that :func:`raised_signals` raised before the block,
    and that some code dropped, counts too. Outside the main thread nothing changes.

    Example:
        >>> with deferred_signals() as interrupted:
        ...     interrupted()
        0
    """
    arrived = [(number, 0.0) for number in _raised[:1]]

    def remember(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not arrived:
            arrived.append((number, now))
        elif number == signal.SIGINT or now - arrived[0][1] > _SAME_SECONDS:
            raise Interrupted(number=number)

    with _handling(SIGNALS, remember):
        yield lambda: arrived[0][0] if arrived else 0


@contextmanager
def held_signals() -> Iterator[None]:
    """Hold signals during the block, and raise :class:`Interrupted` at its end.

    For code that takes an interrupt for damage of the file that it reads. A second signal is
    raised at once.
    """
    with deferred_signals() as interrupted:
        yield
        number = interrupted()
    if number:
        raise Interrupted(number=number)


def ignore_signals(worker: int = 0) -> None:
    """Leave signals to the training process: a ``worker_init_fn`` of data loaders.

    A terminal or a scheduler sends them to every process of a job, and the training process still
    needs its volumes to finish the step at hand.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handling(
    numbers: "tuple[int, ...] | list[int]", handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle signals in the block, but for those that are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    heeded = {
        number: previous
        for number, previous in before.items()
        if previous not in (signal.SIG_IGN, None)  # None: a handler that is not Python's
    }
    try:
        for number in heeded:
            signal.signal(number, handler)
        yield
    finally:
        for number, previous in heeded.items():
            signal.signal(number, previous)


def _raise(number: int, frame: FrameType | None) -> None:
    _raised.append(number)
    raise Interrupted(number=number)


def _restore_in_child() -> None:
    """A forked process has no user to answer to: signals end it as they end any program."""
    with suppress(ValueError):
        for number in SIGNALS:
            if signal.getsignal(number) is _raise:
                signal.signal(number, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_restore_in_child)
