"""Why two reports are as alike as they are, to be read and kept as JSON."""

import abc
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

_SHOWN_PAIRS = 10
_SHOWN_LENGTH = 40

Reason: TypeAlias = Literal[
    "equal ids", "equal contents", "both normal", "one normal", "unknown", "contents"
]
"""What decides: ids or contents that are equal (1), normal reports (by policy), a report without
findings that is not declared normal (0), or what the findings or words say."""


@dataclass(frozen=True)
class Explanation(abc.ABC):
    """Why two reports, ``a`` and ``b``, are as alike as they are.

    It shows what the reports say and names neither: treat it as you treat the reports.

    Attributes:
        value: Their similarity, as ``batch([a], [b])`` has it, in ``[0, 1]``.

    Example:
        >>> from selip_core import Finding, Report, SyntaxSimilarity
        >>> pons = Finding(site="pons")
        >>> reports = [Report(id="a", findings=[pons]), Report(id="b", normal=True)]
        >>> explanation = SyntaxSimilarity().fit(reports).explain("a", "b")
        >>> print(explanation)
        similarity 0: one report is normal and the other is not
        >>> explanation.value, explanation.as_dict()["reason"]
        (0.0, 'one normal')
    """

    value: float

    @abc.abstractmethod
    def lines(self) -> Iterator[str]:
        """Yield the lines of its text, the similarity first."""

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return "\n".join(self.lines())


@final
@dataclass(frozen=True)
class FieldMatch:
    """What one field kernel makes of two findings.

    Attributes:
        kernel: As it is written.
        a: The value in the finding of ``a``; ``None``: missing.
        b: Likewise.
        similarity: In ``[0, 1]``; ``None``: left out, for a missing value.
    """

    kernel: str
    a: str | None
    b: str | None
    similarity: float | None

    def __str__(self) -> str:
        value = "left out" if self.similarity is None else f"{self.similarity:.3g}"
        return f"{self.kernel}: {_quoted(self.a)} and {_quoted(self.b)}: {value}"


@final
@dataclass(frozen=True)
class FindingMatch:
    """Two findings, by number among those of their report (from 1), and what makes them alike.

    Findings are numbered as the similarity keeps them, whatever their order in the report.

    Attributes:
        a: Which finding of ``a``.
        b: Which finding of ``b``.
        similarity: The kernel's value, in ``[0, 1]``.
        best_of_a: Whether it is the best match that finding ``a`` has.
        best_of_b: Likewise.
        fields: What each field says.
    """

    a: int
    b: int
    similarity: float
    best_of_a: bool
    best_of_b: bool
    fields: tuple[FieldMatch, ...]

    def lines(self) -> Iterator[str]:
        """Yield the pair and its fields."""
        best = [f"a{self.a}"] * self.best_of_a + [f"b{self.b}"] * self.best_of_b
        told = f", the best of {' and '.join(best)}" if best else ""
        yield f"a{self.a} and b{self.b}: {self.similarity:.3g}{told}"
        yield from (f"  {field}" for field in self.fields)


@final
@dataclass(frozen=True)
class SyntaxExplanation(Explanation):
    """How findings and policies make a similarity.

    Attributes:
        reason: What decides.
        kernel: Of findings, as it is written.
        aggregation: ``"best"`` or ``"mean"``.
        a_in_b: The mean of the best matches that the findings of ``a`` have in ``b``; ``None``
            without findings on both sides.
        b_in_a: Likewise.
        aggregate: What the aggregation gives; 0 without findings on both sides.
        gamma: The power that follows.
        powered: ``aggregate ** gamma``.
        min_similarity: What is smaller becomes 0.
        depends_on_batch: Settings that have an effect within a batch only, and none here.
        matches: Pairs of findings: best matches first, then by similarity.
        left_out: How many pairs of findings are not listed.
    """

    reason: Reason
    kernel: str
    aggregation: Literal["best", "mean"]
    a_in_b: float | None
    b_in_a: float | None
    aggregate: float
    gamma: float
    powered: float
    min_similarity: float
    depends_on_batch: dict[str, float]
    matches: tuple[FindingMatch, ...]
    left_out: int

    def lines(self) -> Iterator[str]:
        """Yield what decides, the steps from findings to reports, and the pairs of findings."""
        yield f"similarity {self.value:.3g}: {_decision(self.reason, self.value, 'findings')}"
        if self.matches:
            yield from self._steps()
            yield from _shaping(self.gamma, self.powered, self.min_similarity)
        yield from _in_batch(self.depends_on_batch)
        if self.matches:
            yield f"pairs of findings by {self.kernel}:"
        for match in self.matches[:_SHOWN_PAIRS]:
            yield from (f"  {line}" for line in match.lines())
        hidden = self.left_out + len(self.matches[_SHOWN_PAIRS:])
        if hidden:
            yield f"  and {hidden:,} more"

    def _steps(self) -> Iterator[str]:
        shown = "" if self.reason == "contents" else " (not what decides)"
        if self.aggregation == "best":
            yield (
                f"best matches{shown}: of a in b {self.a_in_b:.3g}, of b in a {self.b_in_a:.3g}, "
                f"averaged {self.aggregate:.3g}"
            )
        else:
            yield f"mean over all pairs of findings{shown}: {self.aggregate:.3g}"


@final
@dataclass(frozen=True)
class SemanticExplanation(Explanation):
    """How the cosine of two embeddings makes a similarity.

    Attributes:
        reason: What decides.
        cosine: Of the embeddings, in ``[-1, 1]``; ``None`` where a report has no words.
        mapping: What the cosine becomes, as a formula.
        mapped: What the formula gives; ``None`` without a cosine.
        gamma: The power that follows.
        powered: ``mapped ** gamma``; ``None`` without a cosine.
        min_similarity: What is smaller becomes 0.
        depends_on_batch: Settings that have an effect within a batch only, and none here.
    """

    reason: Reason
    cosine: float | None
    mapping: str
    mapped: float | None
    gamma: float
    powered: float | None
    min_similarity: float
    depends_on_batch: dict[str, float]

    def lines(self) -> Iterator[str]:
        """Yield what decides, and the steps from the cosine on."""
        yield f"similarity {self.value:.3g}: {_decision(self.reason, self.value, 'words')}"
        if self.powered is not None:
            yield f"cosine of the embeddings {self.cosine:.3g}, {self.mapping}: {self.mapped:.3g}"
            yield from _shaping(self.gamma, self.powered, self.min_similarity)
        yield from _in_batch(self.depends_on_batch)


@final
@dataclass(frozen=True)
class MixedExplanation(Explanation):
    """A scaled sum: ``value = sum_k scales_k * parts_k.value``."""

    scales: tuple[float, ...]
    parts: tuple[Explanation, ...]

    def lines(self) -> Iterator[str]:
        """Yield the sum, then each part."""
        terms = (
            f"{scale:g} * {part.value:.3g}"
            for scale, part in zip(self.scales, self.parts, strict=True)
        )
        yield f"similarity {self.value:.3g} = {' + '.join(terms)}"
        for scale, part in zip(self.scales, self.parts, strict=True):
            first, *others = part.lines()
            yield f"{scale:g} * {first}"
            yield from (f"  {line}" for line in others)


def _decision(reason: Reason, value: float, said: str) -> str:
    """Return the words for what decides; reports say findings or words."""
    if reason == "contents":
        return f"from the {said}"
    if reason == "both normal":
        return f"both reports are normal, which counts as {value:.0f}"
    return {
        "equal ids": "the ids are equal",
        "equal contents": f"the reports have the same {said}, which counts as 1",
        "one normal": "one report is normal and the other is not",
        "unknown": f"a report has no {said} and is not declared normal",
    }[reason]


def _shaping(gamma: float, powered: float, min_similarity: float) -> Iterator[str]:
    if gamma != 1:
        yield f"to the power {gamma:g}: {powered:.3g}"
    if min_similarity:
        kept = "kept" if powered >= min_similarity else "becomes 0"
        yield f"min_similarity {min_similarity:g}: {kept}"


def _in_batch(settings: dict[str, float]) -> Iterator[str]:
    for name, setting in settings.items():
        yield f"{name} = {setting:g} depends on the batch and is not applied"


def _quoted(value: str | None) -> str:
    if value is None:
        return "missing"
    return repr(value if len(value) <= _SHOWN_LENGTH else value[:_SHOWN_LENGTH] + "…")
