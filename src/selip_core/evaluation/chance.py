"""What a random ranking reaches: the level that every figure is read against."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.evaluation.ndcg import discounts, ideal_gain


def expected_recall(relevant: Bool[Tensor, "queries gallery"], k: int) -> Float[Tensor, " queries"]:
    """Expected recall at k of a uniformly random ranking, per query.

    With ``m`` right answers in a gallery of ``n`` (hypergeometric, none drawn)::

        1 - C(n - m, k) / C(n, k)

    Example:
        >>> expected_recall(torch.tensor([[True, False, False, False]]), k=1).item()
        0.25
    """
    gallery = relevant.shape[1]
    k = min(k, gallery)
    none_drawn = [
        math.comb(gallery - right, k) / math.comb(gallery, k)
        for right in relevant.sum(dim=1).tolist()
    ]
    return 1 - torch.tensor(none_drawn, dtype=torch.float64)


def expected_nearest(right: Bool[Tensor, "queries gallery"]) -> Float[Tensor, " queries"]:
    """Expected ``nearest_hits`` of a uniformly random ranking: the share of right entries.

    Example:
        >>> expected_nearest(torch.tensor([[True, False], [False, False]])).tolist()
        [0.5, 0.0]
    """
    return right.double().mean(dim=1)


def expected_ndcg(relevance: Float[Tensor, "queries gallery"], k: int) -> Float[Tensor, " queries"]:
    """Expected nDCG@k of a uniformly random ranking, per query; NaN where nothing is relevant.

    Every rank has the mean relevance on average::

        mean(g) sum_{r <= k} 1 / log2(1 + r)  /  sum_{r <= k} g*_r / log2(1 + r)

    Example:
        >>> expected_ndcg(torch.tensor([[1.0, 0.0]]), k=1).item()
        0.5
    """
    random_gain = relevance.double().mean(dim=1) * discounts(k, relevance.shape[1]).sum()
    return random_gain / ideal_gain(relevance, k)
