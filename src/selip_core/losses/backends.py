"""The back ends by name, and the one place that picks among them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

from torch import Tensor

from selip_core.losses import chunked, clamped, dense, one_node
from selip_core.losses.library import RegisteredSweeps


@final
@dataclass(frozen=True)
class Backend:
    """How the loss is computed.

    Attributes:
        logsumexps: Of rows and columns; see ``selip_core.losses.one_node.Sweeps``.
        soft_cross_entropy: The loss; see ``selip_core.losses.one_node.soft_cross_entropy``.
        clamped_loss: The paper's total; see ``selip_core.losses.clamped.clamped_loss``.
        across_processes: Whether the batch may be spread over several processes.
        tiles: Whether ``clamped_loss`` reads the target in tiles.
    """

    logsumexps: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    soft_cross_entropy: Callable[..., Tensor]
    clamped_loss: Callable[..., Tensor]
    across_processes: bool
    tiles: bool


CHUNKED = RegisteredSweeps("chunked", chunked)

BACKENDS = {
    "chunked": Backend(
        CHUNKED.logsumexps,
        partial(one_node.soft_cross_entropy, sweeps=CHUNKED),
        clamped.clamped_loss,
        across_processes=True,
        tiles=True,
    ),
    "dense": Backend(
        dense.logsumexps,
        dense.soft_cross_entropy,
        dense.clamped_loss,
        across_processes=False,
        tiles=False,
    ),
}

# Below this many rows a table of logits (1 MiB in float32) is cheaper than recomputing it.
DENSE_ROWS = 512


def select_backend(name: str, rows: int, *, across_processes: bool) -> Backend:
    """Return the named back end; ``"auto"`` is ``dense`` up to 512 rows and ``chunked`` above.

    Args:
        name: ``"auto"`` may choose; any other is obeyed or refused.
        rows: Size of the batch.
        across_processes: Whether the batch is spread over several processes: ``chunked`` alone.

    Raises:
        ValueError: If there is no such back end, or it does not work across processes.
    """
    if name == "auto":
        name = "dense" if rows <= DENSE_ROWS and not across_processes else "chunked"
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {['auto', *sorted(BACKENDS)]}, got {name!r}")
    backend = BACKENDS[name]
    if across_processes and not backend.across_processes:
        raise ValueError(
            f"the {name} back end needs the whole batch in one process, got a group; "
            "use backend='chunked' or 'auto'"
        )
    return backend
