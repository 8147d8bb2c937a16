"""Retrieval figures on feature matrices: recall, graded nDCG, chance levels, intervals by study."""

from selip_core.evaluation.auc import area_under_curve, area_under_curve_interval
from selip_core.evaluation.bootstrap import Interval, mean_interval, study_multiplicities
from selip_core.evaluation.chance import expected_ndcg, expected_recall
from selip_core.evaluation.ndcg import ndcg
from selip_core.evaluation.recall import recall_hits, same_group
from selip_core.evaluation.truth import Lesion, lesion_relevance, read_truth

__all__ = [
    "Interval",
    "Lesion",
    "area_under_curve",
    "area_under_curve_interval",
    "expected_ndcg",
    "expected_recall",
    "lesion_relevance",
    "mean_interval",
    "ndcg",
    "read_truth",
    "recall_hits",
    "same_group",
    "study_multiplicities",
]
