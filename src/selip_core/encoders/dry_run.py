"""Making a network for what it tells: without memory for its weights, and without drawing them."""

from collections.abc import Callable
from typing import TypeVar

import torch

Made = TypeVar("Made")


def dry_run(make: Callable[[], Made]) -> Made:
    """Return what is made, on the device "meta" where it can be; generators stay as they are.

    Example:
        >>> dry_run(lambda: torch.nn.Linear(2, 3)).weight.device
        device(type='meta')
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return make()
        except RuntimeError:  # it reads a value while it is made, and those of meta have none
            with torch.device("cpu"):
                return make()
