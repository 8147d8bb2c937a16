"""Batches of volumes, read in this process or ahead of it in others."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from selip_core.data import VolumeDataset
from selip_core.errors import DataError
from selip_core.recipes.interruption import ignore_interrupt


def load_batches(
    volumes: VolumeDataset, batches: list[list[int]], workers: int
) -> Iterator[dict[str, Any]]:
    """Collated items of these rows, batch by batch, in their order.

    Args:
        volumes: What is read.
        batches: Row numbers.
        workers: Processes that read; 0 reads here.

    Raises:
        DataError: If a volume cannot be used.
    """
    loader: DataLoader[Any] = DataLoader(
        volumes,
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=ignore_interrupt,
        # A generator of its own: a loader that is made again must not draw from the global one.
        generator=torch.Generator(),
    )
    items = iter(loader)
    for batch in batches:
        try:
            yield next(items)
        except (RuntimeError, DataError):
            # A worker's error comes as one text with a traceback: read here, it is itself again.
            for index in batch:
                volumes[index]
            raise
