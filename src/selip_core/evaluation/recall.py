"""Retrieval recall at k, with sets of right answers."""

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.evaluation._checks import check_scores


def recall_hits(
    scores: Float[Tensor, "queries gallery"], relevant: Bool[Tensor, "queries gallery"], k: int
) -> Float[Tensor, " queries"]:
    """Per query 1.0 if a right answer is among the ``k`` best, else 0.0; the mean is R@k.

    A query with several right answers is served by any one of them (not the share of them found)::

        hit_i = [ #{j wrong : s_ij >= max_{j right} s_ij} < k ]

    Ties count against the query: a wrong answer with the same score stands first, so that a model
    that gives everything one score has recall 0, not 1.

    Args:
        scores: Any similarity, larger is nearer; the transpose serves the other direction.
        relevant: Which gallery entries are right answers; at least one for each query.
        k: How many entries of the ranking are looked at; at least 1.

    Raises:
        ValueError: If shapes differ, a score is NaN, ``k`` is below 1, or a query has no right
            answer.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.4, 0.3]])
        >>> relevant = torch.tensor([[True, False, False], [False, False, True]])
        >>> recall_hits(scores, relevant, k=1).tolist(), recall_hits(scores, relevant, k=2).tolist()
        ([1.0, 0.0], [1.0, 1.0])
    """
    check_scores(scores, relevant, k)
    if not relevant.any(dim=1).all():
        count = int((~relevant.any(dim=1)).sum())
        raise ValueError(f"every query needs a right answer in the gallery, {count} have none")
    best_right = scores.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    wrong_before = (~relevant & (scores >= best_right)).sum(dim=1)
    return (wrong_before < k).double()


def nearest_hits(
    scores: Float[Tensor, "queries gallery"], right: Bool[Tensor, "queries gallery"]
) -> Float[Tensor, " queries"]:
    """Per query 1.0 if the best entry is right, else 0.0; a query without a right answer has 0.

    Of several best entries all must be right: ties count against the query.

    Raises:
        ValueError: If shapes differ, or a score is NaN.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
        >>> nearest_hits(scores, torch.tensor([[True, False], [True, False]])).tolist()
        [1.0, 0.0]
    """
    check_scores(scores, right, k=1)
    nearest = scores == scores.amax(dim=1, keepdim=True)
    return (~(nearest & ~right).any(dim=1)).double()


def same_group(
    queries: Sequence[Hashable], gallery: Sequence[Hashable]
) -> Bool[Tensor, "queries gallery"]:
    """True where query and gallery entry carry equal labels: what ``recall_hits`` calls relevant.

    Example:
        >>> same_group(["a", "b", "a"], ["a", "b"]).int().tolist()
        [[1, 0], [0, 1], [1, 0]]
    """
    codes: dict[Hashable, int] = {}
    query_codes = torch.tensor([codes.setdefault(label, len(codes)) for label in queries])
    gallery_codes = torch.tensor([codes.setdefault(label, len(codes)) for label in gallery])
    return query_codes[:, None] == gallery_codes[None, :]
