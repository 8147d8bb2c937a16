"""The processes that share one batch: who holds which rows, and what the loss exchanges."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor


@final
@dataclass(frozen=True)
class Ranks:
    """The processes of one loss; with ``group=None`` this one alone, and nothing is sent.

    Attributes:
        group: The processes, or None.
        sizes: Rows held by each rank, in rank order.
        rank: The position of this process.
    """

    group: "dist.ProcessGroup | None"
    sizes: tuple[int, ...]
    rank: int

    @property
    def total(self) -> int:
        """Rows of all ranks."""
        return sum(self.sizes)

    @property
    def own(self) -> slice:
        """Where the rows of this rank stand among all."""
        start = sum(self.sizes[: self.rank])
        return slice(start, start + self.sizes[self.rank])

    def gather(self, features: Shaped[Tensor, "n d"]) -> Shaped[Tensor, "m d"]:
        """Return the rows of all ranks, in rank order."""
        if self.group is None:
            return features
        # Collectives want equal shapes: every rank sends as many rows as the largest holds.
        longest, width = max(self.sizes), features.shape[1]
        sent = _lengthened(features, longest)
        received = features.new_empty(len(self.sizes) * longest, width)
        _exchange("all_gather_single", "all_gather_into_tensor")(received, sent, group=self.group)
        if self._are_equal:
            return received
        parts = received.reshape(-1, longest, width)
        return torch.cat([part[:size] for part, size in zip(parts, self.sizes, strict=True)])

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over ranks."""
        if self.group is None:
            return values
        total = values.clone()
        dist.all_reduce(total, group=self.group)
        return total

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over ranks."""
        return values if self.group is None else self.sum(values) / len(self.sizes)

    def maximum(self, values: Tensor) -> Tensor:
        """Return the elementwise maximum over ranks."""
        if self.group is None:
            return values
        largest = values.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        return largest

    def logsumexp(self, values: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Return the logarithm of the sum over ranks of ``exp(values)``: a MAX, then a SUM."""
        if self.group is None:
            return values
        largest = self.maximum(values)
        return largest + self.sum((values - largest).exp()).log()

    def scatter_sum(self, gradient: Float[Tensor, "m d"]) -> Float[Tensor, "n d"]:
        """Return this rank's rows of the sum over ranks."""
        if self.group is None:
            return gradient
        longest = max(self.sizes)
        if not self._are_equal:
            parts = torch.split(gradient, list(self.sizes))
            gradient = torch.cat([_lengthened(part, longest) for part in parts])
        received = gradient.new_empty(longest, gradient.shape[1])
        reduce_scatter = _exchange("reduce_scatter_single", "reduce_scatter_tensor")
        reduce_scatter(received, gradient.contiguous(), group=self.group)
        return received[: self.sizes[self.rank]]

    @property
    def _are_equal(self) -> bool:
        """Whether all ranks hold as many rows: then nothing has to be copied."""
        return min(self.sizes) == max(self.sizes)


def _lengthened(features: Shaped[Tensor, "n d"], rows: int) -> Shaped[Tensor, "rows d"]:
    """Return the features with zeros below, contiguous; themselves where they are so already."""
    if len(features) == rows:
        return features.contiguous()
    longer = features.new_zeros(rows, features.shape[1])
    longer[: len(features)] = features
    return longer


def _exchange(name: str, older_name: str) -> Callable[..., object]:
    """Return a collective by the name that newer releases of torch give it, or the older one."""
    found: Callable[..., object] = getattr(dist, name, None) or getattr(dist, older_name)
    return found
