"""How much each part of the loss counts."""

from dataclasses import dataclass
from typing import Self, final


@final
@dataclass(frozen=True)
class Weights:
    r"""What repels and what attracts, label smoothing included.

    Smoothing by ``s`` turns every target distribution ``P`` over ``N`` answers, the own pair's and
    the similarity's alike, into ``(1 - s) P + s/N``. Its attraction
    ``(a + b) s / N^2 sum_ij L_ij`` is that of a matrix of rank one: no table is needed.

    Attributes:
        repulsion: ``(a + b) / 2``, of the log-sum-exps.
        own: ``(1 - s) a``, of the own pairs.
        similarity: ``(1 - s) b``, of the target.
        uniform: ``s (a + b)``, of the mean logit.
    """

    repulsion: float
    own: float
    similarity: float
    uniform: float

    @classmethod
    def of(cls, align: float, similarity: float, label_smoothing: float) -> Self:
        """Return the weights of the parts.

        Example:
            >>> Weights.of(1.0, 0.5, label_smoothing=0.5)
            Weights(repulsion=0.75, own=0.5, similarity=0.25, uniform=0.75)
        """
        total, sharp = align + similarity, 1 - label_smoothing
        return cls(total / 2, sharp * align, sharp * similarity, label_smoothing * total)
