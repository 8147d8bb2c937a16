"""The pictures of the study of evidence, drawn from ``benchmarks/results/evidence.json``."""

import math
from collections.abc import Callable
from typing import Any

from evidence_results import FACTOR_TITLES, PRIMARY, Result, ordered


def main_figure(result: Result) -> Any:
    """Draw the paired differences from CLIP of the primary measures, each seed a dot."""
    arms = [(arm, told) for arm, told in ordered(result, result["main"]) if arm != "clip"]
    figure, every_axes = new_figure(1, len(PRIMARY))
    for name, axes in zip(PRIMARY, every_axes, strict=True):
        axes.axvline(0, color="grey", linewidth=1)
        for place, (arm, told) in enumerate(arms):
            gains = seed_gains(result["main"]["arms"], arm, name)
            axes.plot(gains, [place] * len(gains), "o", color="silver", markersize=3)
            found = told[name]["difference"]
            if found is not None:
                axes.plot([found["low"], found["high"]], [place] * 2, color="tab:blue")
                axes.plot([found["mean"]], [place], "D", color="tab:blue", markersize=4)
        axes.set_yticks(range(len(arms)), [arm for arm, _ in arms])
        axes.invert_yaxis()
        axes.set(title=name, xlabel="difference from clip")
        if axes is not every_axes[0]:
            axes.set_yticklabels([])
    return figure


def mechanism_figure(result: Result) -> Any:
    """Draw what the loss does over training, a line an arm."""
    panels = {
        "similarity_share": "share of the similarity's gradient",
        "agreement": "cosine of both gradients",
        "gradient": "norm of the whole gradient",
        "own_mass": "predicted probability of the own pair",
        "positives": "effective positives of the prediction",
        "logit_scale": "logit scale",
    }
    figure, every_axes = new_figure(2, 3)
    colours = colours_of(result)
    for (name, label), axes in zip(panels.items(), every_axes, strict=True):
        for arm, told in result["mechanism"].items():
            history = told.get("history", {})
            is_shown = history and (name not in ("similarity_share", "agreement") or told["target"])
            if is_shown:
                line = {"color": colours[arm], "label": arm, "linewidth": 1}
                axes.plot(history["step"], history[name], **line)
        axes.set(xlabel="step", ylabel=label)
    handles, labels = every_axes[-1].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=8, frameon=False, fontsize="x-small"
    )
    return figure


def factor_figure(measure: str) -> Callable[[Result], Any]:
    """Return what draws the difference from CLIP at every level of every factor."""

    def draw(result: Result) -> Any:
        stages = {stage: found for stage, found in result["levels"].items() if measured(found) > 1}
        panels = max(len(stages), 1)
        columns = min(3, panels)
        figure, every_axes = new_figure(math.ceil(panels / columns), columns)
        colours = colours_of(result)
        for axes in every_axes[panels:]:
            axes.remove()
        for (stage, found), axes in zip(stages.items(), every_axes, strict=False):
            axes.axhline(0, color="grey", linewidth=1)
            draw_levels(axes, found, measure, colours)
            axes.set_title(FACTOR_TITLES[stage], fontsize="small")
            axes.set_ylabel(f"{measure} - clip")
        lines = {
            label: handle
            for axes in every_axes[: len(stages)]
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(lines.values(), lines, loc="outside lower center", ncols=6, frameon=False)
        return figure

    return draw


def measured(found: dict[str, Any]) -> int:
    """Return at how many levels of a factor an arm can be compared with CLIP."""
    differences = [
        [told["R@1"]["difference"] for told in each["arms"].values()] for each in found.values()
    ]
    return sum(any(each) for each in differences)


def draw_levels(axes: Any, found: dict[str, Any], measure: str, colours: dict[str, str]) -> None:
    """Draw one line an arm over the levels of a factor, with intervals, side by side."""
    arms = list(dict.fromkeys(arm for level in found.values() for arm in level["arms"]))
    arms = [arm for arm in arms if arm != "clip"]
    for index, arm in enumerate(arms):
        gains = [level["arms"].get(arm, {}).get(measure, {}) for level in found.values()]
        told = [(place, gain["difference"]) for place, gain in enumerate(gains) if gain]
        known = [(place, difference) for place, difference in told if difference is not None]
        middles = [place + 0.12 * (index - (len(arms) - 1) / 2) for place, _ in known]
        means = [difference["mean"] for _, difference in known]
        below = [difference["mean"] - difference["low"] for _, difference in known]
        above = [difference["high"] - difference["mean"] for _, difference in known]
        for place, level in enumerate(found.values()):
            gains = seed_gains(level["arms"], arm, measure)
            middle = place + 0.12 * (index - (len(arms) - 1) / 2)
            axes.plot(
                [middle] * len(gains), gains, ".", color=colours[arm], alpha=0.4, markersize=3
            )
        axes.errorbar(
            middles, means, [below, above], fmt="o-", color=colours[arm], label=arm, linewidth=1
        )
    axes.set_xticks(range(len(found)), map(tick_of, found), fontsize="small")
    axes.set_xlim(-0.5, len(found) - 0.5)


def seed_gains(arms: dict[str, Any], arm: str, measure: str) -> list[float]:
    """Return the difference from CLIP of every seed."""
    values, base = (arms.get(name, {}).get(measure, {}).get("values", {}) for name in (arm, "clip"))
    return [value - base[seed] for seed, value in values.items() if seed in base]


def tick_of(level: str) -> str:
    """Return the values of a level without their names: one line each."""
    values = level.removesuffix(" (middle)").split(", ")
    return "\n".join(value.rpartition(" ")[2] for value in values)


def colours_of(result: Result) -> dict[str, str]:
    """Return one colour an arm, the same in every picture."""
    from matplotlib import colormaps

    palette = colormaps["tab20"].colors  # type: ignore[attr-defined]
    return {arm: palette[index % len(palette)] for index, arm in enumerate(result["arms"])}


def new_figure(rows: int, columns: int) -> Any:
    """Return an empty figure and its axes, row by row."""
    from matplotlib.figure import Figure

    height = 4.2 if rows == 1 else 3.0 * rows
    figure = Figure(figsize=(3.4 * columns, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


FACTORS = (
    "Over the levels of every factor, the paired difference from plain CLIP at the same level in "
    "{}: the mean over seeds on its 95 % interval, a line an arm, every seed a dot."
)

FIGURES: dict[str, tuple[Callable[[Result], Any], str]] = {
    "evidence-factors-few-labels": (
        factor_figure("probe AUC, 1 % of labels"),
        FACTORS.format("the AUC of the linear probe with 1 % of the labels"),
    ),
    "evidence-factors-ndcg": (factor_figure("nDCG@10"), FACTORS.format("nDCG@10")),
    "evidence-factors-probe": (
        factor_figure("probe AUC"),
        FACTORS.format("the AUC of the linear probe"),
    ),
    "evidence-factors-recall": (factor_figure("R@1"), FACTORS.format("R@1, mean of both ways")),
    "evidence-main": (
        main_figure,
        "Paired differences from plain CLIP in R@1, nDCG@10 and the AUC of the linear probe: a row "
        "an arm, every seed a grey dot, the mean a diamond on its 95 % interval.",
    ),
    "evidence-mechanism": (
        mechanism_figure,
        "Over the steps of training, a line an arm: the share of the similarity's gradient, the "
        "cosine of both gradients, the norm of their sum, the probability of the own pair, the "
        "effective positives of the prediction, and the logit scale.",
    ),
}
"""Pictures by name, with what they show."""
