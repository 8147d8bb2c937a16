"""All measures of one ranking, query by query."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.evaluation.chance import expected_ndcg, expected_nearest, expected_recall
from selip_core.evaluation.figure import Measured
from selip_core.evaluation.ndcg import ndcg
from selip_core.evaluation.recall import nearest_hits, recall_hits

RECALL_AT = tuple(range(1, 11))
NDCG_AT = 10
KIND_AT_1 = "kind@1"

Measures = dict[str, Measured]
"""By name, such as ``"R@1"``, ``"nDCG@10"`` and ``"kind@1"``."""


def recall_measures(
    scores: Float[Tensor, "queries gallery"],
    right: Bool[Tensor, "queries gallery"],
    patients: tuple[tuple[str, ...], ...],
) -> Measures:
    """R@1 to R@10.

    Args:
        scores: Larger is nearer.
        right: Which entries are right answers, at least one for each query.
        patients: Of each query.

    Example:
        >>> scores, right = torch.tensor([[0.9, 0.1]]), torch.tensor([[True, False]])
        >>> recall_measures(scores, right, (("a",),))["R@1"].figure()
        {'value': 1.0, 'low': 1.0, 'high': 1.0, 'chance': 0.5}
    """
    return {
        f"R@{k}": Measured(recall_hits(scores, right, k), expected_recall(right, k), patients)
        for k in RECALL_AT
    }


def truth_measures(
    scores: Float[Tensor, "queries gallery"],
    relevance: Float[Tensor, "queries gallery"],
    same_kind: Bool[Tensor, "queries gallery"],
    shows_lesion: Bool[Tensor, " queries"],
    patients: tuple[tuple[str, ...], ...],
) -> Measures:
    """nDCG@10 and kind@1, which the latent truth judges.

    Args:
        scores: Larger is nearer.
        relevance: Of ``lesion_relevance``.
        same_kind: Of ``same_kind``.
        shows_lesion: Whether a query shows a lesion; one that does not has no kind@1.
        patients: Of each query.

    Example:
        >>> scores, grades = torch.tensor([[0.9, 0.1]]), torch.tensor([[1.0, 0.2]])
        >>> found = truth_measures(scores, grades, grades > 0, torch.tensor([True]), (("a",),))
        >>> {name: float(measured.values) for name, measured in found.items()}
        {'nDCG@10': 1.0, 'kind@1': 1.0}
    """
    hits = nearest_hits(scores, same_kind).where(shows_lesion, torch.nan)
    return {
        f"nDCG@{NDCG_AT}": Measured(
            ndcg(scores, relevance, NDCG_AT), expected_ndcg(relevance, NDCG_AT), patients
        ),
        KIND_AT_1: Measured(hits, expected_nearest(same_kind), patients),
    }
