"""A limit on the memory that threads reading volumes need at the same time."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Condition

_MOST = 12 << 30
"""Bytes; about what one volume of 2 GiB, the default limit, needs on its way to an encoder."""


def reading_memory(unpacked: int) -> int:
    """Return the bytes that reading a volume needs: as stored, in float32, and a slab of float64.

    Args:
        unpacked: Bytes of its voxels, see :func:`~selip_core.data.unusable.require_size`.
    """
    return 2 * unpacked + (1 << 24)


def preparing_memory(unpacked: int) -> int:
    """Return the bytes that preprocessing needs: copies turned, smoothed and resampled.

    Smoothing works in slabs, and needs up to a gigabyte for one; see ``Preprocessing``.
    """
    return 5 * unpacked + min(16 * unpacked, 1 << 30)


@dataclass
class _Place:
    """One volume that a thread works on, and the bytes that were admitted for it."""

    needs: Callable[[int], int]
    admitted: int = 0


class MemoryGate:
    """Admits volumes while they need less than ``capacity`` bytes in all; one alone always.

    Args:
        capacity: Bytes.

    Example:
        >>> gate = MemoryGate(capacity=100)
        >>> with gate.place(lambda unpacked: 3 * unpacked):
        ...     gate.admit(30)
        ...     gate.used
        90
        >>> gate.used
        0
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._changed = Condition()
        self._place: ContextVar[_Place | None] = ContextVar("place", default=None)

    def forget(self) -> None:
        """Start anew, as a forked process must: it has the memory, not the threads."""
        self.used = 0
        self._changed = Condition()

    @contextmanager
    def place(self, needs: Callable[[int], int]) -> Iterator[None]:
        """Work on one volume; what is admitted inside is given back at the end.

        Inside another place this one is part of it.

        Args:
            needs: Bytes needed for a volume that unpacks to so many.
        """
        if self._place.get() is not None:
            yield
            return
        place = _Place(needs)
        token = self._place.set(place)
        try:
            yield
        finally:
            self._place.reset(token)
            with self._changed:
                self.used -= place.admitted
                self._changed.notify_all()

    def admit(self, unpacked: int) -> None:
        """Wait until there is memory for a volume. Outside of a place nothing waits.

        A place that asks for more than it has is not made to wait again: two that did so would
        wait for each other.

        Args:
            unpacked: Bytes that the volume unpacks to.
        """
        place = self._place.get()
        if place is None:
            return
        more = place.needs(unpacked) - place.admitted
        if more <= 0:
            return
        with self._changed:
            if not place.admitted:
                self._changed.wait_for(lambda: not self.used or self.used + more <= self.capacity)
            self.used += more
            place.admitted += more


def _capacity() -> int:
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return _MOST
    return min(_MOST, physical // 2) if physical > 0 else _MOST


VOLUME_MEMORY = MemoryGate(_capacity())
"""The gate that all readers of this process share."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=VOLUME_MEMORY.forget)
