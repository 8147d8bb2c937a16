"""Similarity of reports: what makes them alike, and the operators that say so."""

from selip_core.similarity.description import Description
from selip_core.similarity.explanation import Explanation
from selip_core.similarity.figures import plot_batch
from selip_core.similarity.identical import identical_positives
from selip_core.similarity.kernels import (
    FieldKernel,
    FieldValues,
    FindingKernel,
    LineKernel,
    Missing,
    TableKernel,
    closeness,
    dice,
    embedding,
    exact,
    fuzzy,
    ordered,
    synonyms,
)
from selip_core.similarity.loading import load_similarity
from selip_core.similarity.long_texts import LongTexts
from selip_core.similarity.operators import (
    Dense,
    ExpCosine,
    Factored,
    Identity,
    LowRank,
    RowBlocks,
    ScaledSum,
    SimilarityOperator,
    Sparse,
)
from selip_core.similarity.semantic import SemanticSimilarity
from selip_core.similarity.similarity import MixedSimilarity, Similarity
from selip_core.similarity.syntax import DEFAULT_KERNEL, SyntaxSimilarity

__all__ = [
    "DEFAULT_KERNEL",
    "Dense",
    "Description",
    "ExpCosine",
    "Explanation",
    "Factored",
    "FieldKernel",
    "FieldValues",
    "FindingKernel",
    "Identity",
    "LineKernel",
    "LongTexts",
    "LowRank",
    "Missing",
    "MixedSimilarity",
    "RowBlocks",
    "ScaledSum",
    "SemanticSimilarity",
    "Similarity",
    "SimilarityOperator",
    "Sparse",
    "SyntaxSimilarity",
    "TableKernel",
    "closeness",
    "dice",
    "embedding",
    "exact",
    "fuzzy",
    "identical_positives",
    "load_similarity",
    "ordered",
    "plot_batch",
    "synonyms",
]
