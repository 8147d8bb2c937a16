"""Which training rows make which batch, in every epoch."""

import numpy as np

from selip_core.data import Manifest
from selip_core.recipes.config import PretrainConfig


def epoch_batches(manifest: Manifest, config: PretrainConfig, epoch: int) -> list[list[int]]:
    """The batches of an epoch: row numbers, drawn from the seed and the epoch alone.

    Raises:
        ValueError: If there are fewer rows than a batch holds.
    """
    size = config.data.batch_size
    if len(manifest) < size:
        raise ValueError(
            f"{manifest.path} has {len(manifest)} training rows of the sequences asked for, fewer "
            f"than a batch of {size}; lower data.batch_size"
        )
    order = np.random.default_rng([config.seed, epoch]).permutation(len(manifest)).tolist()
    return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]


def run_length(manifest: Manifest, config: PretrainConfig) -> int:
    """Optimiser steps of the whole run: ``steps``, or ``epochs`` times the batches of an epoch."""
    return config.steps or config.epochs * len(epoch_batches(manifest, config, 0))
