"""Gradient checkpointing that leaves running statistics as one forward pass does."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(stage: Callable[[Tensor], Tensor], x: Tensor, owner: nn.Module) -> Tensor:
    """Return ``stage(x)``, keeping nothing inside it: the backward pass computes it again.

    Gradients, dropout and running statistics are those of the stage alone.

    Args:
        stage: A function of the input.
        x: The input, which is kept.
        owner: The module that holds all that ``stage`` runs.
    """
    if torch.compiler.is_compiling():
        # The compiler writes running statistics once, and takes no contexts.
        return checkpoint(stage, x, use_reentrant=False)  # type: ignore[no-any-return]
    contexts = partial(_contexts, owner)
    return checkpoint(stage, x, use_reentrant=False, context_fn=contexts)  # type: ignore[no-any-return]


def _contexts(
    owner: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _still_statistics(owner)


@contextmanager
def _still_statistics(owner: nn.Module) -> Iterator[None]:
    """Let normalisations keep their running statistics as they are."""
    norms: list[Any] = [
        module
        for module in owner.modules()
        if getattr(module, "num_batches_tracked", None) is not None
    ]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # A copy to count on: synchronised normalisations require one.
        norm.momentum, norm.num_batches_tracked = 0.0, norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
