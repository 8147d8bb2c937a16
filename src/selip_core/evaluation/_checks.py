"""What every figure asks of its arguments."""

from torch import Tensor


def check_scores(scores: Tensor, relevance: Tensor, k: int) -> None:
    """Raise ``ValueError`` unless shapes agree, no score is NaN and ``k`` is at least 1."""
    if scores.ndim != 2 or scores.shape != relevance.shape:
        raise ValueError(
            "scores and relevance must have one shape (queries, gallery), got "
            f"{tuple(scores.shape)} and {tuple(relevance.shape)}"
        )
    if scores.isnan().any():
        raise ValueError(f"scores must not be NaN, got {int(scores.isnan().sum())} NaN")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
