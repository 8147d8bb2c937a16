"""The contrastive loss with soft targets, and what a target has to be."""

from selip_core.losses.backends import explain_backend
from selip_core.losses.bidirectional import bidirectional_logsumexp
from selip_core.losses.gradient_caching import cached_contrastive_step
from selip_core.losses.similarity_clip import similarity_clip_loss
from selip_core.losses.similarity_clip_module import SimilarityCLIPLoss
from selip_core.losses.statistics import DirectionStatistics, LossAndStatistics, LossStatistics
from selip_core.losses.target import EntropyTarget, SelectableTarget, Target, TiledTarget
from selip_core.losses.weight_schedule import WeightSchedule, scheduled_weight

__all__ = [
    "DirectionStatistics",
    "EntropyTarget",
    "LossAndStatistics",
    "LossStatistics",
    "SelectableTarget",
    "SimilarityCLIPLoss",
    "Target",
    "TiledTarget",
    "WeightSchedule",
    "bidirectional_logsumexp",
    "cached_contrastive_step",
    "explain_backend",
    "scheduled_weight",
    "similarity_clip_loss",
]
