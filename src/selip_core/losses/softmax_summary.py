"""What statistics need of a softmax, from parts of its logits seen one after the other."""

from dataclasses import dataclass
from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.ranks import Ranks


@final
@dataclass(frozen=True, eq=False)
class SoftmaxSummary:
    """What is known of each of ``k`` softmaxes of logits ``x``; summaries of two parts add.

    Attributes:
        logsumexp: ``log sum exp x``, to the bit what ``torch.logsumexp`` and ``logaddexp`` give.
        entropy: Of the softmax, in nats.
        largest: ``max x``.
        ties: How many logits are equal to it.

    Example:
        >>> logits = torch.tensor([[0.0, 2.0, 1.0]])
        >>> whole = SoftmaxSummary.of(logits, 1)
        >>> parts = SoftmaxSummary.of(logits[:, :1], 1) + SoftmaxSummary.of(logits[:, 1:], 1)
        >>> torch.testing.assert_close(parts.logsumexp, logits.logsumexp(1))
        >>> torch.testing.assert_close(parts.entropy, whole.entropy)
    """

    logsumexp: Float[Tensor, " k"]
    entropy: Float[Tensor, " k"]
    largest: Float[Tensor, " k"]
    ties: Float[Tensor, " k"]

    @classmethod
    def of(cls, logits: Float[Tensor, "b c"], dim: int) -> Self:
        """Return the summary of logits over one dimension, of which there are some."""
        largest = logits.amax(dim, keepdim=True)
        below = logits - largest
        weights = below.exp()
        mass = weights.sum(dim)
        # sum w (x - m): what is below the largest does not cancel, however large the logits are.
        moment = weights.mul_(below).sum(dim)
        ties = below.eq_(0).sum(dim)
        log_mass = mass.log()
        largest = largest.squeeze(dim)
        return cls(log_mass + largest, log_mass - moment / mass, largest, ties)

    @classmethod
    def of_nothing(cls, softmaxes: int, like: Tensor) -> Self:
        """Return the summary of ``softmaxes`` that have no logits yet."""
        lowest = like.new_full((softmaxes,), -torch.inf)
        nothing = like.new_zeros(softmaxes)
        return cls(lowest, nothing, lowest.clone(), nothing.clone())

    def __add__(self, other: Self) -> Self:
        logsumexp = torch.logaddexp(self.logsumexp, other.logsumexp)
        largest = torch.maximum(self.largest, other.largest)
        return type(self)(
            logsumexp,
            self._entropy_within(logsumexp) + other._entropy_within(logsumexp),
            largest,
            self._ties_at(largest) + other._ties_at(largest),
        )

    def add_at(self, chosen: slice, part: Self) -> None:
        """Add more logits of some of the softmaxes, in place."""
        together = self.of_slice(chosen) + part
        for whole, values in zip(self._fields(), together._fields(), strict=True):
            whole[chosen] = values

    def over(self, ranks: Ranks) -> Self:
        """Return the summary of the logits of all ranks."""
        logsumexp, largest = ranks.logsumexp(self.logsumexp), ranks.maximum(self.largest)
        parts = torch.stack([self._entropy_within(logsumexp), self._ties_at(largest)])
        entropy, ties = ranks.sum(parts).unbind()
        return type(self)(logsumexp, entropy, largest, ties)

    def of_slice(self, chosen: slice) -> Self:
        """Return some of the softmaxes."""
        return type(self)(*(values[chosen] for values in self._fields()))

    def _fields(self) -> tuple[Float[Tensor, " k"], ...]:
        return self.logsumexp, self.entropy, self.largest, self.ties

    def _entropy_within(self, logsumexp: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Return the part of the entropy that these logits have in a softmax of more.

        ``p (H + g)`` with their share ``p = exp(-g)``; without logits it is 0.
        """
        gap = logsumexp - self.logsumexp
        share = (-gap).exp()
        return torch.where(share > 0, share * (self.entropy + gap), 0)

    def _ties_at(self, largest: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        return torch.where(self.largest == largest, self.ties, 0)
