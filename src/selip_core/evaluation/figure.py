"""One retrieval figure: its value, interval, chance level, and whom it was measured on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.evaluation.bootstrap import mean_interval, patient_membership


@dataclass(frozen=True)
class Measured:
    """A measure of each query; a query that has none carries NaN.

    Attributes:
        values: One a query, in [0, 1].
        chance: What a random ranking reaches on that query.
        patients: The patients that each query belongs to.
    """

    values: Float[Tensor, " queries"]
    chance: Float[Tensor, " queries"]
    patients: tuple[tuple[str, ...], ...]

    def figure(self) -> dict[str, float] | None:
        """Mean, 95 % bootstrap interval by patient, and mean chance level.

        None if no query has the measure.

        Example:
            >>> values = torch.tensor([1.0, 1.0])
            >>> Measured(values, values / 4, (("a",), ("b",))).figure()
            {'value': 1.0, 'low': 1.0, 'high': 1.0, 'chance': 0.25}
        """
        figure = _mean_with_interval(self.values, self.patients)
        return figure and figure | {"chance": float(self.chance[~self.values.isnan()].mean())}


def pool(parts: Sequence[Measured]) -> Measured:
    """The queries of all parts together: each keeps the gallery it was asked against."""
    return Measured(
        torch.cat([part.values for part in parts]),
        torch.cat([part.chance for part in parts]),
        tuple(patients for part in parts for patients in part.patients),
    )


def paired_difference(
    values: Float[Tensor, " queries"],
    baseline: Float[Tensor, " queries"],
    patients: Sequence[Sequence[str]],
) -> dict[str, float] | None:
    """Mean of ``values - baseline`` with its 95 % bootstrap interval by patient.

    Both were measured on the same queries, in one order, so that what makes a query hard for both
    drops out: the interval is that of the difference, and no two intervals need be compared. None
    if no query has both.

    Example:
        >>> paired_difference(torch.ones(2), torch.tensor([0.5, 0.5]), [("a",), ("b",)])
        {'value': 0.5, 'low': 0.5, 'high': 0.5}
    """
    return _mean_with_interval(values - baseline, patients)


def _mean_with_interval(
    values: Tensor, patients: Sequence[Sequence[str]]
) -> dict[str, float] | None:
    known = ~values.isnan()
    if not known.any():
        return None
    asked = [each for each, keep in zip(patients, known.tolist(), strict=True) if keep]
    interval = mean_interval(values[known], patient_membership(asked))
    return {"value": float(values[known].mean()), "low": interval.low, "high": interval.high}
