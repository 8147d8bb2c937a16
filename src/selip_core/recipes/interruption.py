"""Ctrl-C between two steps, never inside one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed since the block began.

    The first Ctrl-C is only remembered, so that an optimiser step is never cut in two; the second
    interrupts at once. Outside the main thread, where signals cannot be caught, nothing changes.

    Example:
        >>> with deferred_interrupt() as interrupted:
        ...     interrupted()
        False
    """
    pressed = threading.Event()

    def remember(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    previous = signal.signal(signal.SIGINT, remember)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


def ignore_interrupt(worker: int) -> None:
    """Leave Ctrl-C to the training process: a ``worker_init_fn`` of data loaders."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
