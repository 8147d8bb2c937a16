"""What makes two reports alike, step by step."""

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.aggregation import Best
from selip_core.similarity.corpus import Corpus
from selip_core.similarity.explanation import (
    FieldMatch,
    FindingMatch,
    Reason,
    SemanticExplanation,
    SyntaxExplanation,
)
from selip_core.similarity.kernels import LeafKernel
from selip_core.similarity.mapped_cosine import MappedCosine
from selip_core.similarity.operators import Index
from selip_core.similarity.paths import Contents
from selip_core.similarity.shaping import Shaping

MOST_MATCHES = 1000
"""Pairs of findings that an explanation lists."""


def explain_findings(
    contents: Contents,
    a: int,
    b: int,
    reason: Reason,
    *,
    counts_as_same: bool,
    own_floor: float,
) -> SyntaxExplanation:
    """Return why two reports with these contents are as alike as they are.

    Args:
        contents: The similarity of contents.
        a: The content of a report.
        b: The content of another, or the same.
        reason: What decides.
        counts_as_same: Whether a policy makes the similarity 1.
        own_floor: As it was set; it has no effect on two reports.
    """
    corpus, shaping = contents.corpus, contents.shaping
    table = corpus.block(_findings(corpus, a), _findings(corpus, b), torch.float64)
    places = torch.tensor([a]), torch.tensor([b])
    aggregate = contents.aggregation.block(corpus, *places, torch.float64)
    matches = _finding_matches(corpus, a, b, table)
    return SyntaxExplanation(
        value=1.0 if counts_as_same else float(shaping.apply(aggregate)),
        reason=reason,
        kernel=str(corpus.kernel),
        aggregation="best" if isinstance(contents.aggregation, Best) else "mean",
        a_in_b=float(table.amax(1).mean()) if matches else None,
        b_in_a=float(table.amax(0).mean()) if matches else None,
        aggregate=float(aggregate),
        gamma=shaping.gamma,
        powered=float(aggregate) ** shaping.gamma,
        min_similarity=shaping.min_similarity,
        depends_on_batch=_in_batch(shaping, own_floor),
        matches=matches,
        left_out=table.numel() - len(matches),
    )


def explain_words(
    source: MappedCosine, a: int, b: int, reason: Reason, *, counts_as_same: bool, own_floor: float
) -> SemanticExplanation:
    """Return why two reports with these texts are as alike as they are.

    Args:
        source: The similarity of texts.
        a: The text of a report; negative if it has none.
        b: The text of another, or the same.
        reason: What decides.
        counts_as_same: Whether a policy makes the similarity 1.
        own_floor: As it was set; it has no effect on two reports.
    """
    shaping = source.shaping
    cosine = mapped = powered = None
    value = float(counts_as_same)
    if a >= 0 and b >= 0:
        cosine = source.cosine(a, b)
        mapped = float(source.mapped(torch.tensor(cosine, dtype=torch.float64)))
        powered = mapped**shaping.gamma
        shaped = shaping.apply(torch.tensor(mapped, dtype=torch.float64))
        value = 1.0 if counts_as_same else float(shaped)
    return SemanticExplanation(
        value=value,
        reason=reason,
        cosine=cosine,
        mapping=source.formula,
        mapped=mapped,
        gamma=shaping.gamma,
        powered=powered,
        min_similarity=shaping.min_similarity,
        depends_on_batch=_in_batch(shaping, own_floor),
    )


def decide(
    *, equal_ids: bool, normal: tuple[bool, bool], unknown: bool, equal_contents: bool
) -> Reason:
    """Return what decides the similarity of two reports, in the order of the policies.

    Args:
        equal_ids: Whether they are one report.
        normal: Whether each is declared normal.
        unknown: Whether one says nothing.
        equal_contents: Whether they say the same and count as such.
    """
    if equal_ids:
        return "equal ids"
    if any(normal):
        return "both normal" if all(normal) else "one normal"
    if unknown:
        return "unknown"
    return "equal contents" if equal_contents else "contents"


def _finding_matches(
    corpus: Corpus, a: int, b: int, table: Float[Tensor, "a b"]
) -> tuple[FindingMatch, ...]:
    """Return the pairs of findings of two contents: best matches first, then by similarity."""
    if not table.numel():
        return ()
    best_of_a, best_of_b = torch.zeros_like(table), torch.zeros_like(table)
    best_of_a.scatter_(1, table.argmax(1, keepdim=True), 1)
    best_of_b.scatter_(0, table.argmax(0, keepdim=True), 1)
    # Values are at most 1, so that a best match comes before all that are none.
    order = (table + 2 * torch.maximum(best_of_a, best_of_b)).flatten()
    chosen = order.argsort(descending=True, stable=True)[:MOST_MATCHES]
    rows, columns = chosen // table.shape[1], chosen % table.shape[1]
    left, right = _findings(corpus, a)[rows], _findings(corpus, b)[columns]
    by_leaf = [_field_matches(corpus, leaf, left, right) for leaf in corpus.kernel.leaves]
    pairs = zip(rows.tolist(), columns.tolist(), *by_leaf, strict=True)
    return tuple(
        FindingMatch(
            a=x + 1,
            b=y + 1,
            similarity=float(table[x, y]),
            best_of_a=bool(best_of_a[x, y]),
            best_of_b=bool(best_of_b[x, y]),
            fields=tuple(fields),
        )
        for x, y, *fields in pairs
    )


def _field_matches(corpus: Corpus, leaf: LeafKernel, a: Index, b: Index) -> list[FieldMatch]:
    """Return what a field kernel makes of pairs of distinct findings."""
    values, codes = corpus.values[leaf], corpus.codes[leaf.fields]
    similarities = leaf.compare(values, codes[a], codes[b], torch.float64).expand(a.shape)

    def word(code: int) -> str | None:
        return None if code < 0 else values.strings[code]

    pairs = zip(codes[a].tolist(), codes[b].tolist(), similarities.tolist(), strict=True)
    return [
        FieldMatch(str(leaf), word(x), word(y), None if value != value else value)
        for x, y, value in pairs
    ]


def _in_batch(shaping: Shaping, own_floor: float) -> dict[str, float]:
    """Return the settings that are set and have an effect within a batch only."""
    found = {"top_k": shaping.top_k, "own_floor": own_floor}
    return {name: value for name, value in found.items() if value}


def _findings(corpus: Corpus, content: int) -> Index:
    return corpus.findings[corpus.offsets[content] : corpus.offsets[content + 1]]
