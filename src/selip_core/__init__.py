"""Similarity-softened contrastive pretraining for medical volumes and radiology reports.

The names below are loaded where they are first used, so that ``import selip_core`` stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

from selip_core._version import __version__

if TYPE_CHECKING:
    from selip_core.dual_encoder import DualEncoder
    from selip_core.encoders import (
        StudyEncoder,
        create_image_encoder,
        list_image_encoders,
        register_image_encoder,
    )
    from selip_core.findings import Finding, Report
    from selip_core.losses import (
        SimilarityCLIPLoss,
        bidirectional_logsumexp,
        cached_contrastive_step,
        similarity_clip_loss,
    )
    from selip_core.similarity import SemanticSimilarity, SyntaxSimilarity

_HOMES = {
    "DualEncoder": "selip_core.dual_encoder",
    "Finding": "selip_core.findings",
    "Report": "selip_core.findings",
    "SemanticSimilarity": "selip_core.similarity",
    "SimilarityCLIPLoss": "selip_core.losses",
    "StudyEncoder": "selip_core.encoders",
    "SyntaxSimilarity": "selip_core.similarity",
    "bidirectional_logsumexp": "selip_core.losses",
    "cached_contrastive_step": "selip_core.losses",
    "create_image_encoder": "selip_core.encoders",
    "list_image_encoders": "selip_core.encoders",
    "register_image_encoder": "selip_core.encoders",
    "similarity_clip_loss": "selip_core.losses",
}

__all__ = [
    "DualEncoder",
    "Finding",
    "Report",
    "SemanticSimilarity",
    "SimilarityCLIPLoss",
    "StudyEncoder",
    "SyntaxSimilarity",
    "__version__",
    "bidirectional_logsumexp",
    "cached_contrastive_step",
    "create_image_encoder",
    "list_image_encoders",
    "register_image_encoder",
    "similarity_clip_loss",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
