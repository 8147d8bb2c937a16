"""What is read off a row: every measure of the study by its name."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from evidence_data import PROMPT_GROUPS, PROMPTS
from evidence_rows import Row
from selip_core.simulation.kinds import KINDS

BOTH_WAYS = ("image_to_text", "text_to_image")

Measures = Mapping[str, Callable[[Row], float]]
"""What reads numbers off a row, by their names."""


def retrieved(figure: str) -> Callable[[Row], float]:
    """Return what reads a retrieval figure off a row: the mean of both ways."""
    return lambda row: statistics.fmean(
        row["test"][f"{way} {figure}"]["value"] for way in BOTH_WAYS
    )


def plain(name: str) -> Callable[[Row], float]:
    """Return what reads a number off a row; NaN where there is none."""

    def read(row: Row) -> float:
        value = row["test"].get(name)
        found = value["value"] if isinstance(value, dict) else value
        return math.nan if found is None else float(found)

    return read


def zero_shot_of(names: Sequence[str]) -> Callable[[Row], float]:
    """Return what reads the mean zero-shot AUC of some prompts off a row; NaN without any."""

    def read(row: Row) -> float:
        aucs = row["test"]["zero_shot_aucs"]
        found = [aucs[name] for name in names if name in aucs]
        return statistics.fmean(found) if found else math.nan

    return read


def finding(group: str, name: str) -> Callable[[Row], float]:
    """Return what reads the AUC of one finding off a row; NaN where too few studies have it."""
    return lambda row: float(row["test"][group].get(name, math.nan))


PRIMARY: dict[str, Callable[[Row], float]] = {
    "R@1": retrieved("R@1"),
    "nDCG@10": retrieved("nDCG@10"),
    "probe AUC": plain("probe_auc 100 %"),
}
"""What Holm's correction covers, for every arm but the controls."""

MEASURES: dict[str, Callable[[Row], float]] = {
    **PRIMARY,
    **{f"{way} {k}": plain(f"{way} {k}") for way in BOTH_WAYS for k in ("R@1", "R@5", "R@10")},
    "R@5": retrieved("R@5"),
    "R@10": retrieved("R@10"),
    "kind@1": retrieved("kind@1"),
    "normal R@1": plain("normal R@1"),
    "zero-shot AUC": plain("zero_shot_auc"),
    **{f"zero-shot AUC, {group}": zero_shot_of(names) for group, names in PROMPT_GROUPS.items()},
    **{f"probe AUC, {share} % of labels": plain(f"probe_auc {share} %") for share in (1, 5, 10)},
    "alignment": plain("alignment"),
    "image uniformity": plain("image_uniformity"),
    "text uniformity": plain("text_uniformity"),
    "rank correlation": plain("rank_correlation"),
    "calibration error": plain("calibration_error"),
}
"""What is read off each row, by name."""

FINDINGS: dict[str, Callable[[Row], float]] = {
    **{
        f"zero-shot: {name}": finding("zero_shot_aucs", name)
        for name in PROMPTS
        if name != "normal"
    },
    **{f"probe: {kind}": finding("probe_aucs", kind) for kind in KINDS},
}
"""What is read off each row of the main comparison besides."""

FEW_LABELS = "probe AUC, 1 % of labels"
LEVEL_MEASURES = PRIMARY | {FEW_LABELS: MEASURES[FEW_LABELS]}
"""What is kept of the factors."""

CHANCE: dict[str, Callable[[Row], float]] = {
    name: lambda row, name=name: statistics.fmean(  # type: ignore[misc]
        row["test"][f"{way} {name}"]["chance"] for way in BOTH_WAYS
    )
    for name in ("R@1", "R@5", "R@10", "nDCG@10", "kind@1")
}
"""What an untrained model reaches, by the measure."""
