"""Normalised discounted cumulative gain, for answers that are more or less right."""

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.evaluation._checks import check_scores


def discounts(k: int, gallery: int) -> Float[Tensor, " ranks"]:
    """``1 / log2(1 + rank)`` for ranks 1 to ``min(k, gallery)``."""
    ranks = torch.arange(1, min(k, gallery) + 1, dtype=torch.float64)
    return 1 / torch.log2(1 + ranks)


def ideal_gain(relevance: Float[Tensor, "queries gallery"], k: int) -> Float[Tensor, " queries"]:
    """The discounted gain of the best ranking there is, per query."""
    weights = discounts(k, relevance.shape[1])
    return relevance.double().topk(len(weights), dim=1).values @ weights


def ndcg(
    scores: Float[Tensor, "queries gallery"], relevance: Float[Tensor, "queries gallery"], k: int
) -> Float[Tensor, " queries"]:
    """Per query the discounted gain of the ``k`` best over that of the best ranking, in [0, 1].

    With ``g_r`` the relevance of the entry at rank ``r`` (linear gain) and ``g*`` sorted falling::

        nDCG@k = sum_{r <= k} g_r / log2(1 + r)  /  sum_{r <= k} g*_r / log2(1 + r)

    Ties count against the query: of equal scores the least relevant entry stands first. A query to
    which nothing in the gallery is relevant has no nDCG and gives NaN.

    Raises:
        ValueError: If shapes differ, a score is NaN, ``k`` is below 1, or a relevance is negative.

    References:
        Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, 2002.

    Example:
        >>> ndcg(torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[0.0, 1.0, 0.5]]), k=2)
        tensor([0.4796], dtype=torch.float64)
    """
    check_scores(scores, relevance, k)
    if not (relevance >= 0).all():
        raise ValueError("relevance must not be negative or NaN")
    least_relevant_first = relevance.argsort(dim=1, stable=True)
    by_score = scores.gather(1, least_relevant_first).argsort(dim=1, descending=True, stable=True)
    ranking = least_relevant_first.gather(1, by_score)
    weights = discounts(k, scores.shape[1])
    gain = relevance.double().gather(1, ranking[:, : len(weights)]) @ weights
    return gain / ideal_gain(relevance, k)
