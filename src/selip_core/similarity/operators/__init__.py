"""Similarity operators: matrices known by how they act."""

from selip_core.similarity.operators.base import Index, SimilarityOperator
from selip_core.similarity.operators.dense import Dense
from selip_core.similarity.operators.exp_cosine import ExpCosine
from selip_core.similarity.operators.factored import Factored
from selip_core.similarity.operators.identity import Identity
from selip_core.similarity.operators.low_rank import LowRank
from selip_core.similarity.operators.row_blocks import BlockSource, RowBlocks
from selip_core.similarity.operators.scaled_sum import ScaledSum
from selip_core.similarity.operators.sparse import Sparse

__all__ = [
    "BlockSource",
    "Dense",
    "ExpCosine",
    "Factored",
    "Identity",
    "Index",
    "LowRank",
    "RowBlocks",
    "ScaledSum",
    "SimilarityOperator",
    "Sparse",
]
