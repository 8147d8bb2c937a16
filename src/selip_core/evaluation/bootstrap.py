"""Bootstrap intervals by patient.

Volumes of one study are not independent, nor are the studies of one patient, whose head is the
same; patients are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Interval(NamedTuple):
    """The two ends of a percentile interval, in the unit of the figure."""

    low: float
    high: float


def patient_multiplicities(
    patients: int, resamples: int = 1000, seed: int = 0
) -> Float[Tensor, "resamples patients"]:
    """How often each patient is drawn in each resample; rows sum to ``patients``.

    Raises:
        ValueError: If there is no patient, or no resample.

    Example:
        >>> patient_multiplicities(4, resamples=2).sum(dim=1).tolist()
        [4.0, 4.0]
    """
    if patients < 1 or resamples < 1:
        raise ValueError(
            f"patients and resamples must be at least 1, got {patients} and {resamples}"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(patients, (resamples, patients), generator=generator)
    counts = torch.zeros(resamples, patients, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))


def percentile_interval(estimates: Float[Tensor, " resamples"], level: float = 0.95) -> Interval:
    """The middle ``level`` of the estimates, those that are NaN (nothing drawn) left out."""
    tail = (1 - level) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = estimates.double().nanquantile(ends).tolist()
    return Interval(low, high)


def mean_interval(
    values: Float[Tensor, " queries"],
    membership: Float[Tensor, "queries patients"],
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of the mean of ``values``, by resampling patients.

    A query counts as often as its patient is drawn; a query that several patients share (one report
    text) counts their average. With ``c`` the multiplicities and ``A`` the membership::

        estimate = c' A' values / c' A' 1

    The gallery stays as it is: the interval tells how the figure varies with the patients asked,
    not with the candidates they are ranked among.

    Args:
        values: One figure per query, such as ``recall_hits``.
        membership: Share of each patient in each query, rows summing to 1.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Example:
        >>> mean_interval(torch.tensor([1.0, 1.0]), torch.eye(2), resamples=10)
        Interval(low=1.0, high=1.0)
    """
    membership = membership.double()
    counts = patient_multiplicities(membership.shape[1], resamples, seed)
    totals = counts @ (membership.T @ values.double())
    return percentile_interval(totals / (counts @ membership.sum(dim=0)))


def patient_membership(
    patients: Sequence[Sequence[str]], among: Sequence[str] | None = None
) -> Float[Tensor, "queries patients"]:
    """Share of each patient in each query: a query of several patients is shared among them.

    Args:
        patients: Of each query; one that has several volumes there stands several times.
        among: The patients of the columns; by default those named, sorted.

    Example:
        >>> patient_membership([("a",), ("a", "b")])
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]], dtype=torch.float64)
    """
    names = sorted({name for each in patients for name in each}) if among is None else among
    column = {name: place for place, name in enumerate(names)}
    membership = torch.zeros(len(patients), len(column), dtype=torch.float64)
    for query, each in enumerate(patients):
        for name in each:
            membership[query, column[name]] += 1 / len(each)
    return membership
