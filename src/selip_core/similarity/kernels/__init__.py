"""Finding kernels: how alike two findings are."""

from selip_core.similarity.kernels.algebra import FindingKernel, LeafKernel
from selip_core.similarity.kernels.closeness import Closeness, closeness
from selip_core.similarity.kernels.dice import Dice, dice
from selip_core.similarity.kernels.embedding import Embedding, embedding
from selip_core.similarity.kernels.exact import Exact, exact
from selip_core.similarity.kernels.field import FieldKernel, Missing
from selip_core.similarity.kernels.fuzzy import Fuzzy, fuzzy
from selip_core.similarity.kernels.line import LineKernel
from selip_core.similarity.kernels.ordered import Ordered, ordered
from selip_core.similarity.kernels.synonyms import Synonyms, synonyms
from selip_core.similarity.kernels.table import TableKernel
from selip_core.similarity.kernels.values import FieldValues

__all__ = [
    "Closeness",
    "Dice",
    "Embedding",
    "Exact",
    "FieldKernel",
    "FieldValues",
    "FindingKernel",
    "Fuzzy",
    "LeafKernel",
    "LineKernel",
    "Missing",
    "Ordered",
    "Synonyms",
    "TableKernel",
    "closeness",
    "dice",
    "embedding",
    "exact",
    "fuzzy",
    "ordered",
    "synonyms",
]
