"""Batches of volumes, read in this process or ahead of it in others."""

import logging
import multiprocessing
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate

from selip_core.data import VolumeDataset
from selip_core.errors import DataError
from selip_core.interruption import ignore_signals

_LOST = ("DataLoader worker (pid", "shared memory", "unable to write to file </torch")
"""How torch says that a reader was killed, or that shared memory is short."""

_LAST_MOMENT = 0.2
"""Seconds to wait for the end of a reader that no longer answers."""

_logger = logging.getLogger(__name__)


def load_batches(
    volumes: VolumeDataset, batches: list[list[int]], workers: int
) -> Iterator[dict[str, Any]]:
    """Yield collated items of these rows, batch by batch, in their order.

    Args:
        volumes: What is read.
        batches: Row numbers.
        workers: Processes that read; 0 reads here.

    Raises:
        DataError: If a volume cannot be used.
        ChildProcessError: If a process that reads was killed, or lacks shared memory.
    """
    loader: DataLoader[Any] = DataLoader(
        volumes,
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=ignore_signals,
        # A generator of its own: a loader that is made again must not draw from the global one.
        generator=torch.Generator(),
    )
    before = set(multiprocessing.active_children())
    items = iter(loader)
    readers = set(multiprocessing.active_children()) - before
    try:
        for batch in batches:
            yield _next(items, volumes, batch, readers)
    finally:
        # An error that is on its way up keeps the iterator alive, and it the readers.
        getattr(items, "_shutdown_workers", lambda: None)()
        for reader in readers:
            if reader.is_alive():
                reader.kill()  # it is stuck in a read, and ignores SIGTERM


@contextmanager
def lost_readers_named() -> Iterator[None]:
    """Say what to do if a reader is killed in the block: torch notices at any moment, by SIGCHLD.

    Raises:
        ChildProcessError: In place of torch's RuntimeError.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        if any(sign in str(error) for sign in _LOST):
            raise ChildProcessError(_about_lost_reader(error)) from error
        raise


def _next(
    items: Iterator[dict[str, Any]],
    volumes: VolumeDataset,
    batch: list[int],
    readers: Collection[BaseProcess],
) -> Any:
    """Return the next batch; one on which a reader failed is read again here."""
    try:
        with lost_readers_named():
            return next(items)
    except ChildProcessError:
        raise
    except (RuntimeError, OSError, EOFError, DataError) as error:
        if isinstance(error, EOFError | ConnectionError) and _has_lost_one(readers):
            raise ChildProcessError(_about_lost_reader(error)) from error
        # A reader's error comes as one text with a traceback: here it is itself again.
        again = default_collate([volumes[index] for index in batch])
        _logger.warning(
            "a process that reads volumes failed (%s); its batch was read by the training process",
            type(error).__name__,
        )
        return again


def _has_lost_one(readers: Collection[BaseProcess]) -> bool:
    """Return whether a reader was killed; its connections close a moment before it is gone."""
    for reader in readers:
        reader.join(_LAST_MOMENT)
    return any(reader.exitcode not in (None, 0) for reader in readers)


def _about_lost_reader(error: Exception) -> str:
    text = str(error)
    if "Bus error" in text or "shared memory" in text or "</torch" in text:
        return (
            "the processes that read volumes have too little shared memory: set data.workers lower "
            "or to 0, or give the container more of it (docker run --shm-size)"
        )
    return (
        "a process that reads volumes was killed, by the system most likely, as memory was short: "
        "set data.workers or data.batch_size lower, or ask for more memory"
    )
