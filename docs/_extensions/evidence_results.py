"""The tables of the study of evidence, made from ``benchmarks/results/evidence.json``."""

from collections.abc import Callable, Sequence
from typing import Any

Rows = Sequence[Sequence[str]]
Result = dict[str, Any]

PRIMARY = ("R@1", "nDCG@10", "probe AUC")
LEVEL_MEASURES = (*PRIMARY, "probe AUC, 1 % of labels")
OTHERS = (
    *(f"{way} R@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)),
    *("R@5", "R@10", "kind@1", "normal R@1", "zero-shot AUC"),
    *(f"zero-shot AUC, {group}" for group in ("any lesion", "sides", "sites", "shapes")),
    "probe AUC, 1 % of labels",
    *("probe AUC, 5 % of labels", "probe AUC, 10 % of labels", "rank correlation"),
    *("calibration error", "alignment", "image uniformity", "text uniformity"),
)
FACTOR_TITLES = {
    "width": "width of the image encoder",
    "passes": "length of training",
    "share": "share of the similarity in the loss",
    "sum": "weight of the similarity beside a fixed CLIP term",
    "schedule": "schedule of the similarity weight",
    "train": "training studies",
    "normal": "share of normal studies",
    "tail": "findings long-tailed or flat",
    "noise": "fields wrong or missing",
    "batch": "batch",
    "scale": "logit scale",
    "null": "reports permuted among the training images",
}
MISSING = "–"
NO_BREAK = "\N{NO-BREAK SPACE}"
"""Keeps an interval on one line."""
CHANCE_AUC = 0.5


def arm_rows(result: Result) -> Rows:
    """Return what each arm is, its chosen rate, and the shape of its target."""
    chosen, mechanism = result["tuning"][0]["chosen"], result["mechanism"]
    rows = []
    for arm, told in result["arms"].items():
        shape, abnormal = mechanism[arm].get("target", {}), result["abnormal"].get(arm, {})
        rows.append(
            [
                arm,
                told,
                f"{chosen[arm]:g}" if arm in chosen else MISSING,
                number(shape.get("own_mass")),
                number(abnormal.get("own_mass")),
                number(abnormal.get("same_mass")),
                number(shape.get("positives"), ".1f"),
            ]
        )
    header = ["arm", "what it is", "rate chosen", "own-pair mass", "of abnormal reports"]
    return [[*header, "of these with the same", "effective positives"], *rows]


def tuning_rows(result: Result) -> Rows:
    """Return the validation scores of all trials, level by level."""
    rates = list(next(iter(result["tuning"][0]["scores"].values())))
    rows = [
        [
            told["level"],
            arm,
            str(len(told["seeds"])),
            *(mean_of(by_rate.get(rate, [])) for rate in rates),
        ]
        for told in result["tuning"]
        for arm, by_rate in told["scores"].items()
    ]
    return [["level", "arm", "seeds", *(f"rate {rate}" for rate in rates)], *rows]


def mean_of(values: Sequence[float]) -> str:
    """Return the mean of some values, or a dash of none."""
    return number(sum(values) / len(values)) if values else MISSING


def main_rows(result: Result) -> Rows:
    """Return means and paired differences of the primary measures."""
    return [
        ["arm", "seeds", *(label for name in PRIMARY for label in (name, f"{name} - clip"))],
        *chance_rows(result["main"], PRIMARY),
        *(
            [arm, str(len(told[PRIMARY[0]]["values"])), *primary_cells(told)]
            for arm, told in ordered(result, result["main"])
        ),
    ]


def large_rows(result: Result) -> Rows:
    """Return means and paired differences of the primary measures on larger volumes."""
    rows = [
        [encoder, arm, str(len(told[PRIMARY[0]]["values"])), *primary_cells(told)]
        for encoder, level in result["large"].items()
        for arm, told in ordered(result, level)
    ]
    header = ["encoder", "arm", "seeds"]
    missing = [MISSING] * (len(header) + 2 * len(PRIMARY))
    labels = (label for name in PRIMARY for label in (name, f"{name} - clip"))
    return [[*header, *labels], *(rows or [missing])]


def finding_rows(group: str) -> Callable[[Result], Rows]:
    """Return what makes the table of an AUC of each finding."""

    def rows_of(result: Result) -> Rows:
        arms = [(arm, told) for arm, told in ordered(result, result["main"])]
        clip = result["main"]["arms"].get("clip", {})
        rows = [
            [
                name.removeprefix(group),
                number(told["mean"]),
                *(gain(other[name]) for arm, other in arms if arm != "clip"),
            ]
            for name, told in clip.items()
            if name.startswith(group)
        ]
        return [["finding", "clip", *(f"{a} - clip" for a, _ in arms if a != "clip")], *rows]

    return rows_of


def primary_cells(told: dict[str, Any]) -> list[str]:
    """Return mean, and difference with its interval, of each primary measure."""
    return [
        cell
        for name in PRIMARY
        for cell in (number(told[name]["mean"]), gain(told[name], holm=True))
    ]


def contrast_rows(result: Result) -> Rows:
    """Return the differences of arms from others than CLIP."""
    rows = [
        [told["arm"], told["than"], *(gain({"difference": told[name]}) for name in PRIMARY)]
        for told in result["contrasts"]
    ]
    return [["arm", "beside", *PRIMARY], *rows]


def chance_rows(level: dict[str, Any], names: Sequence[str]) -> Rows:
    """Return the row of chance levels, if there is any."""
    chance = level["chance"]
    if not chance:
        return []
    return [["chance", "", *(c for name in names for c in (number(chance_of(level, name)), ""))]]


def other_rows(result: Result) -> Rows:
    """Return chance, the value of CLIP, and the difference from it in every other measure."""
    main = result["main"]
    arms = [(arm, told) for arm, told in ordered(result, main) if arm != "clip"]
    clip = main["arms"].get("clip", {})
    rows = [
        [
            name.replace("_", " "),
            number(chance_of(main, name)),
            number(clip.get(name, {}).get("mean")),
            *(gain(told[name]) for _, told in arms),
        ]
        for name in OTHERS
    ]
    return [["measure", "chance", "clip", *(f"{arm} - clip" for arm, _ in arms)], *rows]


def chance_of(level: dict[str, Any], name: str) -> float | None:
    """Return what an untrained model reaches in a measure, where that is known."""
    if "AUC" in name:
        return CHANCE_AUC
    known: float | None = level["chance"].get(name)
    return known


def seed_rows(name: str) -> Callable[[Result], Rows]:
    """Return what makes the table of a measure of every seed."""

    def rows_of(result: Result) -> Rows:
        arms = ordered(result, result["main"])
        rows = [
            [str(seed), *(number(told[name]["values"].get(str(seed))) for _, told in arms)]
            for seed in result["main"]["seeds"]
        ]
        return [["seed", *(arm for arm, _ in arms)], *rows]

    return rows_of


def level_rows(result: Result) -> Rows:
    """Return some measures at every level of every factor, beside CLIP at that level."""
    header = ["factor", "level", "arm", "seeds", *(f"{name} - clip" for name in LEVEL_MEASURES)]
    rows = [
        [
            FACTOR_TITLES[stage],
            level,
            arm,
            str(pairs(found, told)),
            *(
                number(told[name]["mean"]) if arm == "clip" else gain(told[name])
                for name in LEVEL_MEASURES
            ),
        ]
        for stage, by_level in result["levels"].items()
        for level, found in by_level.items()
        for arm, told in ordered(result, found)
    ]
    return [header, *rows]


def pairs(level: dict[str, Any], told: dict[str, Any]) -> int:
    """Return how many seeds an arm and CLIP have at a level."""
    clip = level["arms"].get("clip", told)
    return len(told[PRIMARY[0]]["values"].keys() & clip[PRIMARY[0]]["values"].keys())


def distinct_rows(result: Result) -> Rows:
    """Return what ``describe()`` says of the default on one data set."""
    return [["batch", "distinct"], *([size, number(m)] for size, m in result["distinct"].items())]


def outside_rows(result: Result) -> Rows:
    """Return the runs that failed and those outside the plan."""
    rows = [
        [
            told["run"],
            ", ".join(map(str, told["seeds"])),
            *(number(told.get(name)) for name in PRIMARY),
            told["error"] or "",
        ]
        for told in result["outside"]
    ]
    header = ["run", "seeds", *PRIMARY, "why it failed"]
    return [header, *(rows or [["none", "", *[MISSING] * len(PRIMARY), ""]])]


def not_run_rows(result: Result) -> Rows:
    """Return how many planned runs are missing."""
    missing = result["not_run"]
    rows = [[stage, str(count)] for stage, count in missing.items()] or [["none", "0"]]
    return [["stage", "planned and not run"], *rows]


def ordered(result: Result, level: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the arms of a level that were run, in the order of the study."""
    return [(arm, level["arms"][arm]) for arm in result["arms"] if arm in level["arms"]]


def gain(told: dict[str, Any], holm: bool = False) -> str:
    """Return a paired difference with its interval; where asked, effect size and Holm's p."""
    found = told["difference"]
    if found is None:
        return MISSING
    shown = f"{found['mean']:+.3f} [{found['low']:+.3f},{NO_BREAK}{found['high']:+.3f}]"
    if not holm:
        return shown
    p = f",{NO_BREAK}p{NO_BREAK}{found['p_holm']:.2g}" if "p_holm" in found else ""
    return f"{shown} d{NO_BREAK}{found['effect']:.1f}{p}"


def number(value: float | None, form: str = ".3f") -> str:
    """Return a number, or a dash where there is none."""
    return MISSING if value is None else format(value, form)


TABLES: dict[str, Callable[[Result], Rows]] = {
    "evidence-arms": arm_rows,
    "evidence-contrasts": contrast_rows,
    "evidence-distinct": distinct_rows,
    "evidence-findings-probe": finding_rows("probe: "),
    "evidence-findings-zero-shot": finding_rows("zero-shot: "),
    "evidence-large": large_rows,
    "evidence-levels": level_rows,
    "evidence-main": main_rows,
    "evidence-not-run": not_run_rows,
    "evidence-others": other_rows,
    "evidence-outside": outside_rows,
    "evidence-seeds-ndcg": seed_rows("nDCG@10"),
    "evidence-seeds-probe": seed_rows("probe AUC"),
    "evidence-seeds-recall": seed_rows("R@1"),
    "evidence-tuning": tuning_rows,
}
"""Tables by name."""
