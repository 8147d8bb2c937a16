"""One retrieval figure: its value, interval, chance level, and whom it was measured on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.evaluation import mean_interval

Studies = tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """A measure of each query; a query that has none carries NaN.

    Attributes:
        values: One a query, in [0, 1].
        chance: What a random ranking reaches on that query.
        studies: The studies that each query belongs to.
    """

    values: Float[Tensor, " queries"]
    chance: Float[Tensor, " queries"]
    studies: tuple[Studies, ...]

    def figure(self) -> dict[str, float]:
        """Mean, 95 % bootstrap interval by study, and mean chance level.

        Example:
            >>> values = torch.tensor([1.0, 1.0])
            >>> Measured(values, values / 4, (("a",), ("b",))).figure()
            {'value': 1.0, 'low': 1.0, 'high': 1.0, 'chance': 0.25}
        """
        known = ~self.values.isnan()
        values = self.values[known]
        studies = [each for each, keep in zip(self.studies, known.tolist(), strict=True) if keep]
        interval = mean_interval(values, study_membership(studies))
        return {
            "value": float(values.mean()),
            "low": interval.low,
            "high": interval.high,
            "chance": float(self.chance[known].mean()),
        }


def pool(parts: Sequence[Measured]) -> Measured:
    """The queries of all parts together: each keeps the gallery it was asked against."""
    return Measured(
        torch.cat([part.values for part in parts]),
        torch.cat([part.chance for part in parts]),
        tuple(studies for part in parts for studies in part.studies),
    )


def study_membership(
    studies: Sequence[Studies], among: Sequence[str] | None = None
) -> Float[Tensor, "queries studies"]:
    """Share of each study in each query: a query of several studies is shared among them.

    Args:
        studies: Of each query; one that has several volumes there stands several times.
        among: The studies of the columns; by default those named, sorted.

    Example:
        >>> study_membership([("a",), ("a", "b")])
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]], dtype=torch.float64)
    """
    names = sorted({name for each in studies for name in each}) if among is None else among
    column = {name: place for place, name in enumerate(names)}
    membership = torch.zeros(len(studies), len(column), dtype=torch.float64)
    for query, each in enumerate(studies):
        for name in each:
            membership[query, column[name]] += 1 / len(each)
    return membership
