"""Bootstrap intervals by study: volumes of one study are not independent, studies are."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Interval(NamedTuple):
    """The two ends of a percentile interval, in the unit of the figure."""

    low: float
    high: float


def study_multiplicities(
    studies: int, resamples: int = 1000, seed: int = 0
) -> Float[Tensor, "resamples studies"]:
    """How often each study is drawn in each resample; rows sum to ``studies``.

    Raises:
        ValueError: If there is no study, or no resample.

    Example:
        >>> study_multiplicities(4, resamples=2).sum(dim=1).tolist()
        [4.0, 4.0]
    """
    if studies < 1 or resamples < 1:
        raise ValueError(f"studies and resamples must be at least 1, got {studies} and {resamples}")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(studies, (resamples, studies), generator=generator)
    counts = torch.zeros(resamples, studies, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))


def percentile_interval(estimates: Float[Tensor, " resamples"], level: float = 0.95) -> Interval:
    """The middle ``level`` of the estimates, those that are NaN (nothing drawn) left out."""
    tail = (1 - level) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = estimates.double().nanquantile(ends).tolist()
    return Interval(low, high)


def mean_interval(
    values: Float[Tensor, " queries"],
    membership: Float[Tensor, "queries studies"],
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of the mean of ``values``, by resampling studies.

    A query counts as often as its study is drawn; a query that several studies share (one report
    text) counts their average. With ``c`` the multiplicities and ``A`` the membership::

        estimate = c' A' values / c' A' 1

    The gallery stays as it is: the interval tells how the figure varies with the studies asked, not
    with the candidates they are ranked among.

    Args:
        values: One figure per query, such as ``recall_hits``.
        membership: Share of each study in each query, rows summing to 1.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Example:
        >>> mean_interval(torch.tensor([1.0, 1.0]), torch.eye(2), resamples=10)
        Interval(low=1.0, high=1.0)
    """
    membership = membership.double()
    counts = study_multiplicities(membership.shape[1], resamples, seed)
    totals = counts @ (membership.T @ values.double())
    return percentile_interval(totals / (counts @ membership.sum(dim=0)))
