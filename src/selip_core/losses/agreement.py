"""The first exchange of a loss: what every rank holds, and whether every rank can go on.

A rank that finds its input wrong says so here, or the others would wait for it until the timeout.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Self, final

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from selip_core._assertions import require
from selip_core.losses.ranks import Ranks

TOLERANCE = 1e-6
"""Largest relative difference of a scalar between ranks: processors of different types may round
``exp`` differently."""

SCALARS = ("logit_scale", "logit_bias")
UNEQUAL = (
    "start every rank from the same value, and let its gradient be averaged (wrap the whole model "
    "by DistributedDataParallel or fully_shard) or leave it as the loss gives it, which is the "
    "same on all ranks"
)


@final
@dataclass(frozen=True)
class Settings:
    """What has to be equal on all ranks, by the names that messages show.

    Attributes:
        align_weight: Weight of the own pairs.
        similarity_weight: Weight of the target.
        label_smoothing: Share of every distribution that is spread evenly.
        average: Whether a share is multiplied by the number of ranks.
        return_stats: Whether statistics are exchanged.
        backend: The name of the back end that computes.
        features_dtype: Type of the features.
        features_width: Their columns.
        device: Type of the device of the scale.
        text_features_require_grad: Whether gradients of texts are exchanged.
        logit_scale_requires_grad: Whether the gradient of the scale is.
        logit_bias_is_given: Whether there is one.
        target_is_given: Whether there is one.
        target_members: Which of the optional members it has; they decide what is exchanged.
    """

    align_weight: float
    similarity_weight: float
    label_smoothing: float
    average: bool
    return_stats: bool
    backend: str
    features_dtype: torch.dtype
    features_width: int
    device: str
    text_features_require_grad: bool
    logit_scale_requires_grad: bool
    logit_bias_is_given: bool
    target_is_given: bool
    target_members: tuple[str, ...]

    def named(self) -> dict[str, object]:
        """Return the values by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def digests(self) -> tuple[int, ...]:
        """Return a number for each value, which equal values share."""
        return tuple(zlib.crc32(repr(value).encode()) for value in self.named().values())


@final
@dataclass(frozen=True)
class Statement:
    """What one rank sends to the others; a rank that cannot go on sends zeros.

    Attributes:
        rows: Pairs that it holds.
        target_columns: Of its target; -1 without one.
        masked: Whether it has a mask.
        healthy: Whether its input is right.
        scalars: Scale and bias of the logits; 0 where they are compared on the device.
        digests: Of its :class:`Settings`.
    """

    rows: int = 0
    target_columns: int = 0
    masked: bool = False
    healthy: bool = False
    scalars: tuple[float, ...] = (0.0,) * len(SCALARS)
    digests: tuple[int, ...] = (0,) * len(fields(Settings))

    def packed(self) -> list[int]:
        """Return the statement as integers; scalars by their bits."""
        scalars = struct.unpack(f"{len(SCALARS)}q", struct.pack(f"{len(SCALARS)}d", *self.scalars))
        first = self.rows, self.target_columns, int(self.masked), int(self.healthy)
        return [*first, *scalars, *self.digests]

    @classmethod
    def unpacked(cls, numbers: list[int]) -> Self:
        """Return the statement that was packed."""
        rows, columns, masked, healthy, *rest = numbers
        scalars, digests = rest[: len(SCALARS)], rest[len(SCALARS) :]
        values = struct.unpack(f"{len(SCALARS)}d", struct.pack(f"{len(SCALARS)}q", *scalars))
        return cls(rows, columns, bool(masked), bool(healthy), values, tuple(digests))


@contextmanager
def failing_together(group: "dist.ProcessGroup | None") -> Iterator[None]:
    """Let an error within fail on every rank of the group; the others learn it in ``agree``."""
    try:
        yield
    except Exception:
        if group is not None:
            _exchange(Statement(), None, group)
        raise


def agree(
    rows: int,
    target_columns: int,
    masked: bool,
    scalars: Float[Tensor, " 2"],
    settings: Settings,
    group: "dist.ProcessGroup",
) -> tuple[Ranks, bool]:
    """Return the ranks with their numbers of pairs, and whether any rank has a mask.

    One all-gather of 20 int64 per rank. Scalars on a GPU whose group sends from the CPU are
    compared there, so that the host does not wait for them.

    Args:
        rows: Pairs of this rank.
        target_columns: Of its target; -1 without one.
        masked: Whether it has a mask.
        scalars: Scale and bias of the logits, the bias 0 without one; float64.
        settings: What has to be equal.
        group: The processes.

    Raises:
        ValueError: On every rank, if one of them cannot go on, has a target of another width than
            there are texts, or calls the loss with other settings, another scale or another bias.
    """
    own = Statement(rows, target_columns, masked, healthy=True, digests=settings.digests())
    on_device = _device_of(group).type != scalars.device.type
    statements = _exchange(own, None if on_device else scalars, group)
    ranks, any_masked = _checked(statements, settings, group, dist.get_rank(group))
    if on_device:
        require_equal_scalars(scalars, ranks)
    return ranks, any_masked


def require_equal_scalars(scalars: Float[Tensor, " 2"], ranks: Ranks) -> None:
    """Raise, as :func:`require` does, unless they are equal on all ranks; the host does not wait.

    Raises:
        ValueError: On a CPU, on every rank.
    """
    values = scalars.nan_to_num(nan=torch.finfo(scalars.dtype).max)
    highest, negated = ranks.maximum(torch.stack([values, -values])).unbind()
    allowed = TOLERANCE * torch.maximum(highest.abs(), negated.abs())
    require(
        (highest + negated <= allowed).all(),
        f"{' and '.join(SCALARS)} must be equal on all ranks of the group",
        lambda: f"between {(-negated).tolist()} and {highest.tolist()}",
        UNEQUAL,
    )


def _checked(
    statements: list[Statement], settings: Settings, group: "dist.ProcessGroup", rank: int
) -> tuple[Ranks, bool]:
    _check_others([not statement.healthy for statement in statements])
    _check_settings(statements, settings, rank)
    _check_scalars(statements)
    total = sum(statement.rows for statement in statements)
    wrong = [statement.target_columns not in (-1, total) for statement in statements]
    own = statements[rank]
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


def _check_settings(statements: list[Statement], settings: Settings, rank: int) -> None:
    by_name = zip(*(statement.digests for statement in statements), strict=True)
    differing = [
        f"{name}={value!r} on rank {rank} and another value on rank "
        + ", ".join(str(other) for other, digest in enumerate(digests) if digest != digests[rank])
        for (name, value), digests in zip(settings.named().items(), by_name, strict=True)
        if len(set(digests)) > 1
    ]
    if differing:
        raise ValueError(
            "all ranks of the group must call the loss with the same settings, got "
            f"{'; '.join(differing)}"
        )


def _check_scalars(statements: list[Statement]) -> None:
    for index, name in enumerate(SCALARS):
        values = [statement.scalars[index] for statement in statements]
        if not all(_are_equal(value, values[0]) for value in values):
            raise ValueError(
                f"{name} must be equal on all ranks of the group, got {values} in rank order; "
                f"{UNEQUAL}"
            )


def _are_equal(value: float, other: float) -> bool:
    both_nan = math.isnan(value) and math.isnan(other)
    return both_nan or math.isclose(value, other, rel_tol=TOLERANCE)


def _exchange(
    own: Statement, scalars: Float[Tensor, " 2"] | None, group: "dist.ProcessGroup"
) -> list[Statement]:
    sent = torch.tensor(own.packed(), device=_device_of(group))
    if scalars is not None:
        # Their bits, on their device: a GPU is waited for once, when all is received.
        sent[4 : 4 + len(SCALARS)] = scalars.view(torch.int64)
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    dist.all_gather(received, sent, group=group)
    return [Statement.unpacked(statement.tolist()) for statement in received]


def _device_of(group: "dist.ProcessGroup") -> torch.device:
    """Return where the tensors must lie that this group sends.

    A group for gloo and nccl, as ``init_process_group()`` makes it, sends from the CPU too; one of
    a GPU's back end alone from the GPU only.
    """
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or "cpu:" in dist.get_backend_config(group):
        return torch.device("cpu")
    return torch.device(accelerator.type, torch.accelerator.current_device_index())
