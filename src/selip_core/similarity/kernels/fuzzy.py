"""Fuzzy similarity of the strings of a field."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.field import Codes, FieldValues, Missing
from selip_core.similarity.kernels.table import TableKernel
from selip_core.similarity.operators import Index


@final
@dataclass(frozen=True)
class Fuzzy(TableKernel):
    """A scorer of rapidfuzz, scaled to ``[0, 1]``; a table holds the similarities in float32."""

    scorer: str = "ratio"
    cutoff: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [*_percentages(), *_shares()]
        if self.scorer not in known:
            raise ValueError(
                f"scorer must be a scorer of rapidfuzz or its name, one of {known}, "
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

        return self._scored_by(process.cdist, values.strings, rows, columns)

    def score_pairs(self, values: FieldValues, a: Index, b: Index) -> Float[Tensor, " pairs"]:
        """Return the similarities of pairs, one after the other."""
        from rapidfuzz import process

        return self._scored_by(process.cpdist, values.strings, a, b)

    def similarity(
        self, entries: Tensor, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype
    ) -> Tensor:
        """Return the entries."""
        return entries.to(dtype)

    def _scored_by(
        self, process: Callable[..., Any], strings: Sequence[str], a: Index, b: Index
    ) -> Tensor:
        percentages = _percentages()
        is_percentage = self.scorer in percentages
        # Every scorer of rapidfuzz that is known by name is symmetric: one order is enough.
        scores = process(
            [strings[code] for code in a.tolist()],
            [strings[code] for code in b.tolist()],
            scorer=percentages[self.scorer] if is_percentage else _shares()[self.scorer],
            score_multiplier=0.01 if is_percentage else 1.0,
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
            :data:`~selip_core.similarity.kernels.Missing`.

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
def _percentages() -> dict[str, Callable[..., float]]:
    """Return the scorers of ``rapidfuzz.fuzz`` by name: from 0 to 100."""
    from rapidfuzz import fuzz

    return {name: getattr(fuzz, name) for name in sorted(dir(fuzz)) if name.endswith("atio")}


@functools.cache
def _shares() -> dict[str, Callable[..., float]]:
    """Return the normalised similarities of ``rapidfuzz.distance`` by class: from 0 to 1."""
    from rapidfuzz import distance

    modules = {name: getattr(distance, name) for name in sorted(dir(distance))}
    return {
        name: module.normalized_similarity
        for name, module in modules.items()
        if hasattr(module, "normalized_similarity") and not name.endswith("_py")
    }


def _name_of(scorer: Callable[..., float]) -> str:
    for name, own in (_percentages() | _shares()).items():
        if scorer is own:
            return name
    raise ValueError(
        "scorer must be a function of rapidfuzz.fuzz or the normalized_similarity of a class of "
        "rapidfuzz.distance (or its name, or that of the class), got "
        f"{getattr(scorer, '__module__', '')}.{getattr(scorer, '__name__', repr(scorer))}"
    )
