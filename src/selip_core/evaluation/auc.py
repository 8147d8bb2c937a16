"""Area under the ROC curve: how well one score tells two groups apart."""

from jaxtyping import Float
from torch import Tensor

from selip_core.evaluation.bootstrap import Interval, patient_multiplicities, percentile_interval


def _wins(positive: Tensor, negative: Tensor) -> Float[Tensor, "positives negatives"]:
    difference = positive[:, None] - negative[None, :]
    return (difference.sign().double() + 1) / 2


def area_under_curve(
    positive: Float[Tensor, " positives"], negative: Float[Tensor, " negatives"]
) -> float:
    """Probability that a positive scores above a negative, ties counting half; chance is 0.5.

    Raises:
        ValueError: If either group is empty.

    Example:
        >>> import torch
        >>> area_under_curve(torch.tensor([0.9, 0.4]), torch.tensor([0.4, 0.1]))
        0.875
    """
    if not len(positive) or not len(negative):
        raise ValueError(
            "both groups need a member, got "
            f"{len(positive)} positive and {len(negative)} negative scores"
        )
    return float(_wins(positive, negative).mean())


def area_under_curve_interval(
    positive: Float[Tensor, " positives"],
    negative: Float[Tensor, " negatives"],
    positive_membership: Float[Tensor, "positives patients"],
    negative_membership: Float[Tensor, "negatives patients"],
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of ``area_under_curve``, by resampling patients.

    Memberships are those of ``mean_interval``, over the same patients for both groups.

    Example:
        >>> import torch
        >>> scores = torch.tensor([0.9, 0.8]), torch.tensor([0.1])
        >>> patients = torch.eye(3)
        >>> area_under_curve_interval(*scores, patients[:2], patients[2:], resamples=20)
        Interval(low=1.0, high=1.0)
    """
    counts = patient_multiplicities(positive_membership.shape[1], resamples, seed)
    weights = counts @ positive_membership.double().T
    other_weights = counts @ negative_membership.double().T
    won = ((weights @ _wins(positive, negative)) * other_weights).sum(dim=1)
    return percentile_interval(won / (weights.sum(dim=1) * other_weights.sum(dim=1)))
