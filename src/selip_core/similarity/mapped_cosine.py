"""The cosine of embeddings, mapped into [0, 1] and shaped."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from selip_core.similarity.operators import (
    BlockSource,
    ExpCosine,
    Index,
    LowRank,
    SimilarityOperator,
)
from selip_core.similarity.paths import table_or_blocks
from selip_core.similarity.shaping import Shaping
from selip_core.similarity.sparsify import sparsify

Mapping: TypeAlias = Literal["affine", "clip", "exp"]
"""What a cosine becomes: ``(1 + cos) / 2``, ``max(0, cos)`` or ``exp((cos - 1) / temperature)``."""


@final
@dataclass(frozen=True, eq=False)
class MappedCosine(BlockSource):
    """How alike texts are by their embeddings: the mapped cosine, shaped; 1 for a text itself.

    Args:
        embeddings: A row a text, float32, of unit norm.
        mapping: What a cosine becomes.
        temperature: Of the mapping ``"exp"``.
        shaping: Applied to the mapped cosine.
    """

    embeddings: Float[Tensor, "texts r"]
    mapping: Mapping
    temperature: float
    shaping: Shaping

    @property
    def is_low_rank(self) -> bool:
        """Whether it is the affine cosine as it is."""
        return self.mapping == "affine" and self.shaping.is_none

    @property
    def nbytes(self) -> int:
        """Bytes of the embeddings."""
        return self.embeddings.nbytes

    @property
    def formula(self) -> str:
        """What a cosine becomes, as it is written."""
        formulas = {"affine": "(1 + cos) / 2", "clip": "max(0, cos)"}
        return formulas.get(self.mapping, f"exp((cos - 1) / {self.temperature:g})")

    def cosine(self, a: int, b: int) -> float:
        """Return the cosine of the embeddings of two texts, in ``[-1, 1]``."""
        left, right = self._units(torch.tensor([a, b]), torch.float64)
        return float((left @ right).clamp(-1, 1))

    def operator(self, rows: Index, columns: Index, dtype: torch.dtype) -> SimilarityOperator:
        """Return the similarity of texts by the form that suits it; ``top_k`` is looked at.

        Columns that are the same tensor as rows share their factors.
        """
        shaping = self.shaping
        if shaping.is_sparse:
            return sparsify(self, rows, columns, dtype, shaping.top_k)
        if self.mapping == "clip" or (self.mapping == "affine" and not shaping.is_none):
            return table_or_blocks(self, rows, columns, dtype)
        left = self._units(rows, dtype)
        right = left if columns is rows else self._units(columns, dtype)
        if self.mapping == "exp":  # its power is another temperature
            return ExpCosine(left, right, self.temperature / shaping.gamma)
        left = _with_ones(left)
        return LowRank(left, left if columns is rows else _with_ones(right))

    def block(
        self, rows: Index, columns: Index, dtype: torch.dtype
    ) -> Float[Tensor, "rows columns"]:
        """Return the shaped similarities; ``top_k`` is not looked at."""
        cosines = (self._units(rows, dtype) @ self._units(columns, dtype).T).clamp_(-1, 1)
        mapped = self.mapped(cosines)
        mapped[rows[:, None] == columns[None, :]] = 1
        return self.shaping.apply(mapped)

    def mapped(self, cosines: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
        """Return what cosines become, in their place."""
        if self.mapping == "affine":
            return cosines.add_(1).div_(2)
        if self.mapping == "clip":
            return cosines.clamp_(min=0)
        return cosines.sub_(1).div_(self.temperature).exp_()

    def _units(self, texts: Index, dtype: torch.dtype) -> Float[Tensor, "selected r"]:
        """Return the embeddings with unit norm in this precision too."""
        return normalize(self.embeddings[texts].to(dtype))


def _with_ones(units: Tensor) -> Float[Tensor, "texts r_and_one"]:
    # (1 + e e') / 2 = [e, 1] [e, 1]' / 2
    factor: Tensor = torch.cat([units, units.new_ones(len(units), 1)], dim=1) * 0.5**0.5
    return factor
