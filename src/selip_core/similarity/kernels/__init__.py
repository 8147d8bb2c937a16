"""Finding kernels: how alike two findings are."""

from selip_core.similarity.kernels.algebra import FindingKernel
from selip_core.similarity.kernels.closeness import Closeness, closeness
from selip_core.similarity.kernels.dice import Dice, dice
from selip_core.similarity.kernels.embedding import Embedding, embedding
from selip_core.similarity.kernels.exact import Exact, exact
from selip_core.similarity.kernels.field import FieldKernel, FieldValues, Missing
from selip_core.similarity.kernels.fuzzy import Fuzzy, fuzzy
from selip_core.similarity.kernels.line import LineKernel
from selip_core.similarity.kernels.ordered import Ordered, ordered
from selip_core.similarity.kernels.synonyms import Synonyms, synonyms
from selip_core.similarity.kernels.table import TableKernel

__all__ = [
    "Closeness",
    "Dice",
    "Embedding",
    "Exact",
    "FieldKernel",
    "FieldValues",
    "FindingKernel",
    "Fuzzy",
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
