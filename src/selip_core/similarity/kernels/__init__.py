"""Finding kernels: how alike two findings are."""

from selip_core.similarity.kernels.algebra import FindingKernel
from selip_core.similarity.kernels.dice import Dice, dice
from selip_core.similarity.kernels.exact import Exact, exact
from selip_core.similarity.kernels.field import FieldKernel, FieldValues, Missing
from selip_core.similarity.kernels.fuzzy import Fuzzy, fuzzy

__all__ = [
    "Dice",
    "Exact",
    "FieldKernel",
    "FieldValues",
    "FindingKernel",
    "Fuzzy",
    "Missing",
    "dice",
    "exact",
    "fuzzy",
]
