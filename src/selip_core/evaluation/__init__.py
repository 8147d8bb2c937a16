"""Retrieval figures: recall, graded nDCG, kind@1, chance levels, intervals by patient."""

from selip_core.evaluation.auc import area_under_curve, area_under_curve_interval
from selip_core.evaluation.bootstrap import (
    Interval,
    mean_interval,
    patient_membership,
    patient_multiplicities,
)
from selip_core.evaluation.chance import expected_ndcg, expected_nearest, expected_recall
from selip_core.evaluation.figure import Measured, paired_difference, pool
from selip_core.evaluation.measures import Measures, recall_measures, truth_measures
from selip_core.evaluation.ndcg import ndcg
from selip_core.evaluation.recall import nearest_hits, recall_hits, same_group
from selip_core.evaluation.relevance import lesion_relevance, same_kind
from selip_core.evaluation.truth import Lesion, read_truth

__all__ = [
    "Interval",
    "Lesion",
    "Measured",
    "Measures",
    "area_under_curve",
    "area_under_curve_interval",
    "expected_ndcg",
    "expected_nearest",
    "expected_recall",
    "lesion_relevance",
    "mean_interval",
    "ndcg",
    "nearest_hits",
    "paired_difference",
    "patient_membership",
    "patient_multiplicities",
    "pool",
    "read_truth",
    "recall_hits",
    "recall_measures",
    "same_group",
    "same_kind",
    "truth_measures",
]
