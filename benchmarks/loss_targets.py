"""The part of ``loss.py`` that measures what a target adds to plain CLIP, by its kind."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from loss_formulas import Loss, batch, step, wait_for
from loss_scaling import seconds_of_repeats
from selip_core.findings import Report
from selip_core.losses import similarity_clip_loss
from selip_core.similarity import (
    Dense,
    Factored,
    ScaledSum,
    SemanticSimilarity,
    SimilarityOperator,
    SyntaxSimilarity,
)
from similarity_corpora import long_tail, vocabulary

NO_TARGET = "none"
REPEATS = 5
EMBEDDING_WIDTH = 384
TOP_K = 16
MANY_FINDINGS, FEW_FINDINGS = 2_500, 14
ROWS, MANY_ROWS = 4_096, {"cpu": 16_384, "cuda": 32_768}
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}
BACKENDS = {"cpu": "chunked", "cuda": "triton"}
QUICK_ROWS = 1_024
# Makes the target of a batch, as if it were new, without computing more than it must.
Target = Callable[[], SimilarityOperator]


def measure_targets(quick: bool, device: str = "cpu") -> list[dict[str, Any]]:
    """Return a row for each size: every kind at one, at the other those that are asked for."""
    rows, many = (QUICK_ROWS, 2 * QUICK_ROWS) if quick else (ROWS, MANY_ROWS[device])
    found = reports(rows, MANY_FINDINGS)
    paper = of_reports(SyntaxSimilarity.paper(), found)
    table = Dense(paper().dense())
    kinds: dict[str, Target] = {
        "dense table": lambda: table,
        "factored (paper)": paper,
        "factored (best match)": of_reports(SyntaxSimilarity(), found),
        f"sparse (best match, top {TOP_K})": of_reports(SyntaxSimilarity(top_k=TOP_K), found),
        "low rank (semantic)": of_reports(SemanticSimilarity(embed), found),
    }
    asked: dict[str, Target] = {
        "factored (paper)": of_reports(SyntaxSimilarity.paper(), reports(many, MANY_FINDINGS)),
        "factored (best match), few contents": of_reports(
            SyntaxSimilarity(), reports(many, FEW_FINDINGS)
        ),
    }
    return [measured(rows, kinds, device), measured(many, asked, device)]


def measured(rows: int, targets: dict[str, Target], device: str) -> dict[str, Any]:
    """Return seconds of plain CLIP and of the same with each target, and the targets' widths.

    Medians, and the shortest of the repeats: what a target adds is small beside what a step varies.
    """
    leaves = batch(rows, dtype=DTYPES[device], device=device)

    def softened(target: Callable[[], SimilarityOperator | None]) -> None:
        made = target()
        similarities = None if made is None else made.to(device)
        loss: Loss = partial(similarity_clip_loss, backend=BACKENDS[device], target=similarities)
        step(loss, leaves)
        wait_for(device)

    every = {NO_TARGET: lambda: None, **targets}
    calls = {name: partial(softened, target) for name, target in every.items()}
    found = seconds_of_repeats(calls, REPEATS)
    row = {
        "rows": rows,
        "widths": {name: width_of(target()) for name, target in targets.items()},
        "seconds": {name: statistics.median(values) for name, values in found.items()},
        "shortest_seconds": {name: min(values) for name, values in found.items()},
    }
    print(row)
    return row


def reports(rows: int, findings: int) -> list[Report]:
    """Return reports with findings of the long tail and a text."""
    made = long_tail(rows, vocabulary(findings))
    return [Report.model_construct(id=x.id, findings=x.findings, text=x.id) for x in made]


def of_reports(similarity: SyntaxSimilarity | SemanticSimilarity, found: list[Report]) -> Target:
    """Fit, and return what asks for the batch of all reports by their ids."""
    similarity.fit(found)
    return partial(similarity.batch, [report.id for report in found])


def embed(texts: Sequence[str]) -> Tensor:
    """Return random embeddings, in the place of a model's."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(texts), EMBEDDING_WIDTH, generator=generator)


def width_of(operator: SimilarityOperator) -> int | None:
    """Return the number of distinct findings or contents, the width of the factor, if it is one."""
    first = operator.operators[0] if isinstance(operator, ScaledSum) else operator
    return first.kernel.shape[0] if isinstance(first, Factored) else None
