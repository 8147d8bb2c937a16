"""The shape of a similarity: how quickly it falls, and what of it is kept."""

from dataclasses import dataclass
from numbers import Integral
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor


@final
@dataclass(frozen=True)
class Shaping:
    """``S ** gamma``, then nothing below ``min_similarity``, then the ``top_k`` largest.

    Args:
        gamma: Power; above 1 it sharpens.
        min_similarity: Similarities below it become 0, in ``[0, 1]``.
        top_k: Similarities that are neither among the ``top_k`` largest of their row nor of their
            column become 0; equal ones are kept or dropped together. ``None`` keeps all.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> values = torch.tensor([[1.0, 0.5, 0.1], [0.5, 1.0, 0.8], [0.1, 0.8, 1.0]])
        >>> Shaping(gamma=2.0, min_similarity=0.2).apply(values)
        tensor([[1.0000, 0.2500, 0.0000],
                [0.2500, 1.0000, 0.6400],
                [0.0000, 0.6400, 1.0000]])
    """

    gamma: float = 1.0
    min_similarity: float = 0.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.gamma < float("inf"):
            raise ValueError(f"gamma must be finite and positive, got {self.gamma}")
        if not 0 <= self.min_similarity <= 1:
            raise ValueError(f"min_similarity must be in [0, 1], got {self.min_similarity}")
        if self.top_k is not None and not (isinstance(self.top_k, Integral) and self.top_k >= 1):
            raise ValueError(
                f"top_k must be a whole number of at least 1, or None, got {self.top_k!r}"
            )

    @property
    def is_none(self) -> bool:
        """Whether similarities stay as they are."""
        return self == Shaping()

    @property
    def is_sparse(self) -> bool:
        """Whether it makes most similarities 0."""
        return self.top_k is not None or self.min_similarity > 0

    def apply(self, values: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
        """Return the power, and 0 for what is too small; ``top_k`` is not looked at."""
        shaped = values if self.gamma == 1 else values**self.gamma
        if self.min_similarity == 0:
            return shaped
        return torch.where(shaped >= self.min_similarity, shaped, 0)
