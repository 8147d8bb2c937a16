"""The first exchange of a loss: what every rank holds, and whether every rank can go on.

A rank that finds its input wrong says so here, or the others would wait for it until the timeout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import final

import torch
import torch.distributed as dist

from selip_core.losses.ranks import Ranks


@final
@dataclass(frozen=True)
class Statement:
    """What one rank tells the others; a rank that cannot go on sends zeros.

    Attributes:
        rows: Pairs that it holds.
        target_columns: Of its target; -1 without one.
        masked: Whether it has a mask.
        call: A number that is equal where the loss is called alike.
        healthy: Whether its input is right.
    """

    rows: int = 0
    target_columns: int = 0
    masked: bool = False
    call: int = 0
    healthy: bool = False


@contextmanager
def failing_together(group: "dist.ProcessGroup | None") -> Iterator[None]:
    """Let an error within fail on every rank of the group; the others learn it in ``agree``."""
    try:
        yield
    except Exception:
        if group is not None:
            _exchange(Statement(), group)
        raise


def agree(own: Statement, group: "dist.ProcessGroup | None") -> tuple[Ranks, bool]:
    """Return who holds how many pairs, and whether any rank has a mask.

    One all-gather of five int64 a rank; none with ``group=None``.

    Raises:
        ValueError: On every rank, if one of them cannot go on, has a target of another width than
            there are texts, or calls the loss differently.
    """
    if group is None:
        statements, rank = [own], 0
    else:
        statements, rank = _exchange(own, group), dist.get_rank(group)
    _check_others([not statement.healthy for statement in statements])
    if any(statement.call != statements[0].call for statement in statements):
        raise ValueError(
            "all ranks of the group must call the loss alike, and they do not: compare feature "
            "type and width, weights, label_smoothing, return_stats, whether text features require "
            "a gradient, and whether there is a target and what members it has"
        )
    total = sum(statement.rows for statement in statements)
    wrong = [statement.target_columns not in (-1, total) for statement in statements]
    if wrong[rank]:
        raise ValueError(
            f"target must have shape {(own.rows, total)}, images by texts, got "
            f"{(own.rows, own.target_columns)}"
        )
    _check_others(wrong)
    sizes = tuple(statement.rows for statement in statements)
    return Ranks(group, sizes, rank), any(statement.masked for statement in statements)


def _check_others(failed: list[bool]) -> None:
    ranks = ", ".join(str(rank) for rank, fails in enumerate(failed) if fails)
    if ranks:
        raise ValueError(f"rank {ranks} failed its check of the batch; its own error says why")


def _exchange(own: Statement, group: "dist.ProcessGroup") -> list[Statement]:
    sent = torch.tensor([int(value) for value in astuple(own)], device=_device_of(group))
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    dist.all_gather(received, sent, group=group)
    told = (statement.tolist() for statement in received)
    return [
        Statement(rows, columns, bool(masked), call, bool(healthy))
        for rows, columns, masked, call, healthy in told
    ]


def _device_of(group: "dist.ProcessGroup") -> torch.device:
    """Return where the tensors must lie that this group sends.

    A group for gloo and nccl, as ``init_process_group()`` makes it, sends from the CPU too; one of
    a GPU's back end alone from the GPU only.
    """
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or "cpu:" in dist.get_backend_config(group):
        return torch.device("cpu")
    return torch.device(accelerator.type, torch.accelerator.current_device_index())
