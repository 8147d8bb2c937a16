"""Words that mean the same."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.field import Missing
from selip_core.similarity.kernels.line import LineKernel
from selip_core.similarity.kernels.words import normalized


@final
@dataclass(frozen=True)
class Synonyms(LineKernel):
    """1 where the values are equal or of one group, else 0."""

    groups: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        groups = tuple(tuple(dict.fromkeys(normalized(g, "synonyms"))) for g in self.groups)
        object.__setattr__(self, "groups", groups)
        if not groups or not all(groups):
            raise ValueError("a table of synonyms needs at least one group, and words in each")
        _numbers(groups)

    def place(self, value: str) -> tuple[Hashable, float]:
        """Return the group of a value; else a line of its own."""
        return self._group_of.get(value, value), 0.0

    def of_gap(self, gaps: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
        """Return 1: words of one group are equal."""
        return gaps.fill_(1)

    @cached_property
    def _group_of(self) -> dict[str, int]:
        return _numbers(self.groups)

    def _written(self, value: Any) -> str:
        return f"<{len(value)} groups>" if value is self.groups else super()._written(value)


def synonyms(
    field: str | tuple[str, ...],
    table: Mapping[str, Iterable[str]] | Iterable[Iterable[str]],
    *,
    missing: Missing = "equal",
) -> Synonyms:
    """Return the kernel that is 1 where two findings have values that mean the same, else 0.

    A value that the table does not have matches only itself.

    Args:
        field: The field to read; or several as a tuple, whose words are joined.
        table: From a word to the words that mean the same; or groups of words that do. As fields
            are compared: in Unicode's form NFKC, upper and lower case apart.
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.Missing`.

    Raises:
        ValueError: If the table is empty, something in it is not a string or not several, or a word
            is in two groups: the message has their numbers.

    Example:
        >>> import torch
        >>> kernel = synonyms("signal", {"high": ["hyperintense", "bright"], "low": ["dark"]})
        >>> values = kernel.read(["bright", "hyperintense", "dark"])
        >>> kernel.compare(values, torch.tensor([0, 0]), torch.tensor([1, 2]))
        tensor([1., 0.], dtype=torch.float64)
    """
    if isinstance(table, Mapping):
        groups = [(word, *normalized(variants, "synonyms")) for word, variants in table.items()]
    else:
        groups = [normalized(group, "synonyms") for group in table]
    return Synonyms(field, tuple(groups), missing=missing)


def _numbers(groups: tuple[tuple[str, ...], ...]) -> dict[str, int]:
    """Return the number of each word's group, or say which groups share a word."""
    numbers: dict[str, int] = {}
    for number, group in enumerate(groups):
        for word in group:
            if (other := numbers.setdefault(word, number)) != number:
                raise ValueError(
                    "a word can be in one group of synonyms only; in Unicode's form NFKC groups "
                    f"{other} and {number} (counted from 0) share one"
                )
    return numbers
