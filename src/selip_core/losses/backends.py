"""The back ends by name, and the one place that picks among them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from selip_core.losses import chunked, clamped, dense, one_node, triton_sweeps
from selip_core.losses.library import RegisteredSweeps


@final
@dataclass(frozen=True)
class Backend:
    """How the loss is computed.

    Attributes:
        logsumexps: Of rows and columns; see ``selip_core.losses.one_node.Sweeps``.
        soft_cross_entropy: The loss; see ``selip_core.losses.one_node.soft_cross_entropy``.
        clamped_loss: The paper's total; see ``selip_core.losses.clamped.clamped_loss``. None if it
            cannot be had.
        across_processes: Whether the batch may be spread over several processes.
        tiles: Whether ``clamped_loss`` reads the target in tiles.
        goes_on: Whether ``soft_cross_entropy`` takes ``logsumexps`` that a sweep of the chunked
            back end has found; it does not sweep for them then.
    """

    logsumexps: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    soft_cross_entropy: Callable[..., Tensor]
    clamped_loss: Callable[..., Tensor] | None
    across_processes: bool
    tiles: bool
    goes_on: bool


CHUNKED = RegisteredSweeps("chunked", chunked)
TRITON = RegisteredSweeps("triton", triton_sweeps)

BACKENDS = {
    "chunked": Backend(
        CHUNKED.logsumexps,
        partial(one_node.soft_cross_entropy, sweeps=CHUNKED),
        clamped.clamped_loss,
        across_processes=True,
        tiles=True,
        goes_on=True,
    ),
    "dense": Backend(
        dense.logsumexps,
        dense.soft_cross_entropy,
        dense.clamped_loss,
        across_processes=False,
        tiles=False,
        goes_on=False,
    ),
    "triton": Backend(
        TRITON.logsumexps,
        partial(one_node.soft_cross_entropy, sweeps=TRITON),
        None,
        across_processes=True,
        tiles=False,
        goes_on=False,
    ),
}

# Below this many rows a table of logits (1 MiB in float32) is cheaper than recomputing it.
DENSE_ROWS = 512

# Constants, or a compiler that traces the choice would fix the size of the batch.
FEW_ROWS = f"up to {DENSE_ROWS} rows a table of logits is cheaper than recomputing it"
CLAMPED = "it alone reads a target in tiles, as the clamped total needs"
UNSEEN = "what it will compute on is not known"
TRITON_USABLE = "its kernels can be compiled for these features"


def select_backend(
    name: str,
    rows: int,
    features: Tensor | None = None,
    *,
    across_processes: bool,
    clamped: bool = False,
) -> Backend:
    """Return the named back end.

    Args:
        name: ``"auto"`` is ``dense`` up to 512 rows, above ``triton`` where it is usable and else
            ``chunked``. Any other name is obeyed or refused.
        rows: Size of the batch.
        features: What will be computed on; None where only the name is looked at.
        across_processes: Whether the batch is spread over several processes.
        clamped: Whether the paper's total is wanted.

    Raises:
        ValueError: If there is no such back end, or it cannot do what is asked.
    """
    if name == "auto":
        name, _ = _automatic(rows, features, across_processes, clamped)
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {['auto', *sorted(BACKENDS)]}, got {name!r}")
    backend = BACKENDS[name]
    if across_processes and not backend.across_processes:
        raise ValueError(
            f"the {name} back end needs the whole batch in one process, got a group; "
            "use backend='chunked' or 'auto'"
        )
    if clamped and backend.clamped_loss is None:
        raise ValueError(
            f"the {name} back end does not clamp, got clamp_eps; use backend='chunked' or 'auto'"
        )
    if name == "triton" and features is not None:
        triton_sweeps.check_usable(features.device, features.dtype)
    return backend


def backend_name(name: str, features: Tensor) -> str:
    """Return the name of the back end that computes a batch spread over several processes."""
    if name != "auto":
        return name
    name, _ = _automatic(len(features), features, across_processes=True, clamped=False)
    return name


def explain_backend(
    image_features: Float[Tensor, "n d"],
    *,
    backend: str = "auto",
    clamp_eps: float | None = None,
    group: "dist.ProcessGroup | None" = None,
) -> str:
    """Tell in a sentence which back end the loss takes for these features, and why.

    Nothing is computed or sent. Arguments are those of
    :func:`~selip_core.losses.similarity_clip_loss`, which chooses by the same rule.

    Args:
        image_features: What the loss would get; their number, type and device decide.
        backend: ``"auto"``, or the name of a back end.
        clamp_eps: None, or the paper's clamp.
        group: The processes that share the batch.

    Returns:
        The name of the back end, a comma, and the reason.

    Raises:
        ValueError: If the loss would refuse the back end.

    Example:
        >>> import torch
        >>> explain_backend(torch.eye(4))
        'dense, since up to 512 rows a table of logits is cheaper than recomputing it'
        >>> explain_backend(torch.eye(4), backend="chunked")
        'chunked, since it was asked for by name'
    """
    rows, across, clamped = len(image_features), group is not None, clamp_eps is not None
    select_backend(backend, rows, image_features, across_processes=across, clamped=clamped)
    if backend != "auto":
        return f"{backend}, since it was asked for by name"
    name, reason = _automatic(rows, image_features, across, clamped)
    return f"{name}, since {reason}"


def _automatic(
    rows: int, features: Tensor | None, across_processes: bool, clamped: bool
) -> tuple[str, str]:
    """Return the name that ``"auto"`` stands for, and why."""
    if rows <= DENSE_ROWS and not across_processes:
        return "dense", FEW_ROWS
    if clamped:
        return "chunked", CLAMPED
    if features is None:
        return "chunked", UNSEEN
    obstacle = triton_sweeps.compiled_obstacle(features.device, features.dtype)
    if obstacle is not None:
        return "chunked", f"triton cannot be used: {obstacle}"
    return "triton", TRITON_USABLE
