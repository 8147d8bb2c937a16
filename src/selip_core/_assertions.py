"""Assertions about the values of tensors, for which no device waits."""

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor


def require(holds: Bool[Tensor, ""], needed: str, came: Callable[[], str], remedy: str) -> None:
    """Raise unless it holds.

    To look at a value breaks a graph that is being compiled, and stops the host until a GPU is done
    with its queue. There torch asserts, when the value is computed.

    Args:
        holds: One truth value.
        needed: What must hold.
        came: Says what came instead; called only where values can be looked at.
        remedy: What to do.

    Raises:
        ValueError: If it does not hold, on a CPU outside ``torch.compile``. Elsewhere torch raises
            a RuntimeError: on a GPU it is a device-side assertion, seen where the host next waits,
            after which the process has to start anew.

    Example:
        >>> require(torch.tensor(2.0) > 0, "sums must be above 0", lambda: "2", "add 1")
    """
    if torch.compiler.is_compiling() or holds.is_cuda:
        torch._assert_async(holds, f"{needed}; {remedy}")
    elif not holds:
        raise ValueError(f"{needed}, got {came()}; {remedy}")
