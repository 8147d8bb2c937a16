"""What statistics need of a softmax, from parts of its logits seen one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.ranks import Ranks


@final
@dataclass(frozen=True, eq=False)
class SoftmaxSummary:
    """Sums over the logits ``x`` of each of ``k`` softmaxes; summaries of two parts add.

    Attributes:
        largest: ``m = max x``.
        ties: How many logits are equal to it.
        mass: ``sum exp(x - m)``.
        moment: ``sum (x - m) exp(x - m)``.
        total: ``sum x``.

    Example:
        >>> logits = torch.tensor([[0.0, 2.0, 1.0]])
        >>> whole = SoftmaxSummary.of(logits, 1)
        >>> parts = SoftmaxSummary.of(logits[:, :1], 1) + SoftmaxSummary.of(logits[:, 1:], 1)
        >>> torch.testing.assert_close(parts.logsumexp, logits.logsumexp(1))
        >>> torch.testing.assert_close(parts.entropy, whole.entropy)
    """

    largest: Float[Tensor, " k"]
    ties: Float[Tensor, " k"]
    mass: Float[Tensor, " k"]
    moment: Float[Tensor, " k"]
    total: Float[Tensor, " k"]

    @classmethod
    def of(cls, logits: Float[Tensor, "b c"], dim: int) -> Self:
        """Return the summary of logits over one dimension."""
        largest = logits.amax(dim, keepdim=True)
        below = logits - largest
        weights = below.exp()
        ties = (below == 0).sum(dim).to(logits.dtype)
        moment = (below * weights).sum(dim)
        return cls(largest.squeeze(dim), ties, weights.sum(dim), moment, logits.sum(dim))

    @classmethod
    def of_nothing(cls, softmaxes: int, like: Tensor) -> Self:
        """Return the summary of ``softmaxes`` that have no logits yet."""
        nothing = [like.new_zeros(softmaxes) for _ in range(4)]
        return cls(like.new_full((softmaxes,), -torch.inf), *nothing)

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Return the softmaxes of all parts, one part after the other."""
        return cls(
            *(torch.cat(values) for values in zip(*(part._fields() for part in parts), strict=True))
        )

    def __add__(self, other: Self) -> Self:
        largest = torch.maximum(self.largest, other.largest)
        parts = self._sums_from(largest), other._sums_from(largest)
        return type(self)(largest, *parts[0].add(parts[1]).unbind())

    def over(self, ranks: Ranks) -> Self:
        """Return the summary of the logits of all ranks."""
        largest = ranks.maximum(self.largest)
        return type(self)(largest, *ranks.sum(self._sums_from(largest)).unbind())

    def of_slice(self, chosen: slice) -> Self:
        """Return some of the softmaxes."""
        return type(self)(*(values[chosen] for values in self._fields()))

    def _fields(self) -> tuple[Float[Tensor, " k"], ...]:
        return self.largest, self.ties, self.mass, self.moment, self.total

    def _sums_from(self, largest: Float[Tensor, " k"]) -> Float[Tensor, "4 k"]:
        """Return ties, mass, moment and total with another maximum taken off."""
        drop = torch.where(self.mass > 0, self.largest - largest, 0)
        decay = drop.exp()
        return torch.stack(
            [
                torch.where(drop == 0, self.ties, 0),
                decay * self.mass,
                decay * (self.moment + drop * self.mass),
                self.total,
            ]
        )

    @property
    def logsumexp(self) -> Float[Tensor, " k"]:
        """``log sum exp x``."""
        return self.largest + self.mass.log()

    @property
    def entropy(self) -> Float[Tensor, " k"]:
        """Of each softmax, in nats."""
        return self.mass.log() - self.moment / self.mass
