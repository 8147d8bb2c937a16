"""Fuzzy similarity of the strings of a field."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.field import Missing, qualified_name
from selip_core.similarity.kernels.table import TableKernel
from selip_core.similarity.kernels.values import Codes, FieldValues
from selip_core.similarity.operators import Index

_ROUNDING = 1e-6


@final
@dataclass(frozen=True)
class Fuzzy(TableKernel):
    """A scorer of rapidfuzz, scaled to ``[0, 1]``; a table holds the similarities in float32."""

    scorer: str = "ratio"
    cutoff: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scorer not in _scorers():
            raise ValueError(
                f"scorer must be a scorer of rapidfuzz or its name, one of {list(_scorers())}, "
                f"got {self.scorer!r}"
            )
        if not 0 <= self.cutoff <= 1:
            raise ValueError(f"cutoff must be in [0, 1], got {self.cutoff}")

    def encode(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return nothing: strings are scored as they are."""
        return {}

    def entry_dtype(self, values: FieldValues) -> torch.dtype:
        """Return float32."""
        return torch.float32

    def score(
        self, values: FieldValues, rows: Index, columns: Index
    ) -> Float[Tensor, "rows columns"]:
        """Return the similarities of all pairs."""
        from rapidfuzz import process

        scores = self._scored_by(process.cdist, values.strings, rows, columns)
        return scores.masked_fill_(rows[:, None] == columns, 1)

    def score_pairs(self, values: FieldValues, a: Index, b: Index) -> Float[Tensor, " pairs"]:
        """Return the similarities of pairs, one after the other."""
        from rapidfuzz import process

        return self._scored_by(process.cpdist, values.strings, a, b).masked_fill_(a == b, 1)

    def similarity(
        self, entries: Tensor, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype
    ) -> Tensor:
        """Return the entries."""
        return entries

    def _scored_by(
        self, process: Callable[..., Any], strings: Sequence[str], a: Index, b: Index
    ) -> Tensor:
        scorer, best = _scorers()[self.scorer]
        # Every scorer of rapidfuzz that has a name here is symmetric: one order is enough.
        scores = process(
            [strings[code] for code in a.tolist()],
            [strings[code] for code in b.tolist()],
            scorer=scorer,
            score_cutoff=best * self.cutoff * (1 - _ROUNDING),
            score_multiplier=1 / best,
            workers=torch.get_num_threads(),
        )
        similarities = torch.from_numpy(scores)
        return similarities.masked_fill_(similarities < self.cutoff, 0)


def fuzzy(
    field: str | tuple[str, ...],
    scorer: str | Callable[..., float] = "ratio",
    *,
    cutoff: float = 0.0,
    missing: Missing = "equal",
) -> Fuzzy:
    """Return the kernel that compares a field by a string scorer of rapidfuzz, in ``[0, 1]``.

    ``scorer(a, b) / (its best score)``, and 0 where that is below ``cutoff``. Computed in double
    precision, kept in float32. Equal values are 1 whatever the scorer says of them.

    Args:
        field: The field to read; or several as a tuple, whose words are joined.
        scorer: A scorer of rapidfuzz, or its name: of ``rapidfuzz.fuzz`` such as ``"ratio"``,
            ``"partial_ratio"``, ``"token_set_ratio"`` and ``"WRatio"``, or the
            ``normalized_similarity`` of a class of ``rapidfuzz.distance`` by the name of the class,
            such as ``"JaroWinkler"``, ``"Levenshtein"`` and ``"OSA"``. All are symmetric. For a
            function of your own derive from ``TableKernel``.
        cutoff: Similarities below it are 0, in ``[0, 1]``.
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.Missing`.

    Raises:
        ValueError: If rapidfuzz has no such scorer, it is a distance or is not normalised, or
            ``cutoff`` is out of range.

    Example:
        >>> kernel = fuzzy("site", "JaroWinkler", cutoff=0.8)
        >>> values = kernel.read(["frontal lobe", "frontal lobes", "pons"])
        >>> kernel.compare(values, torch.tensor([0, 0]), torch.tensor([1, 2]))
        tensor([0.9846, 0.0000], dtype=torch.float64)

    Source:
        https://rapidfuzz.github.io/RapidFuzz
    """
    name = scorer if isinstance(scorer, str) else _name_of(scorer)
    return Fuzzy(field, name, cutoff, missing=missing)


@functools.cache
def _scorers() -> dict[str, tuple[Callable[..., float], float]]:
    """Return the scorers of rapidfuzz by name, each with its best score."""
    from rapidfuzz import distance, fuzz

    percentages = {name: getattr(fuzz, name) for name in dir(fuzz) if name.endswith("atio")}
    shares = {
        name: getattr(distance, name).normalized_similarity
        for name in dir(distance)
        if hasattr(getattr(distance, name), "normalized_similarity") and not name.endswith("_py")
    }
    return {name: (scorer, 100.0) for name, scorer in sorted(percentages.items())} | {
        name: (scorer, 1.0) for name, scorer in sorted(shares.items())
    }


def _name_of(scorer: Callable[..., float]) -> str:
    for name, (own, _) in _scorers().items():
        if scorer is own:
            return name
    raise ValueError(
        "scorer must be a function of rapidfuzz.fuzz or the normalized_similarity of a class of "
        "rapidfuzz.distance (or its name, or that of the class), got "
        f"{qualified_name(scorer)}"
    )
