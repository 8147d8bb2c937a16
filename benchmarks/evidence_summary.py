"""From rows to tables: means over seeds, paired differences from plain CLIP, the mechanism."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evidence_plan import (
    BASE,
    BASE_RATES,
    LARGE,
    MAIN_SEEDS,
    MIDDLE,
    STAGES,
    TRIALS,
    Level,
    Trials,
    at,
    choose_rates,
    runs_of,
    scores_of,
)
from evidence_readings import CHANCE, FINDINGS, LEVEL_MEASURES, MEASURES, PRIMARY, Measures
from evidence_rows import Row, RowFile, rounded
from evidence_runs import ARMS, Run
from evidence_shapes import distinct_masses, target_masses
from evidence_statistics import holm, paired_t
from results import RESULTS, write_result
from selip_core.files import atomic_path

CONTROLS = frozenset({"shuffled", "oracle"})

CONTRASTS = (
    ("best8", "identical"),
    ("best8", "mean8"),
    ("best8", "best1"),
    ("best8", "shuffled"),
    ("best8", "oracle"),
    ("best8", "clip smoothed"),
    ("clip", "clip at rate 0.012"),
    ("best8", "clip at rate 0.012"),
    ("mixed", "best8"),
    ("clip unique", "clip one normal"),
    ("best8 unique", "clip unique"),
    ("best8 unique", "best8"),
    ("paper as trained", "clip unique"),
)
"""Arms whose difference is asked for besides that from CLIP."""


def write_summary(work: Path) -> None:
    """Write both files of results from the rows of a folder of work."""
    rows = RowFile(work).read()
    shapes = {"abnormal": target_masses(work), "distinct": distinct_masses(work)}
    print(write_result("evidence", summarise(rows) | shapes))
    ordered = [rows[run.key] for run in in_order(rows)]
    with atomic_path(RESULTS / "evidence.jsonl") as temporary:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in ordered]
        temporary.write_text("".join(lines), encoding="utf-8")


def in_order(rows: Mapping[str, Row]) -> list[Run]:
    """Return the runs that have rows, those of the plan in its order and then all others."""
    planned = [run for stage in (*TRIALS, *STAGES) for run in runs_of(stage, rows)]
    others = [Run.from_json(row["run"]) for row in rows.values()]
    return [run for run in dict.fromkeys([*planned, *others]) if run.key in rows]


def summarise(rows: Mapping[str, Row]) -> dict[str, Any]:
    """Return everything that the page shows."""
    main = runs_of("main", rows)
    return {
        "simulated": True,
        "runs": len(rows),
        "outside": outside(rows),
        "cpu_hours": round(
            sum(row["cpu_seconds"] for row in rows.values() if row.get("device") != "cuda") / 3600,
            2,
        ),
        "commits": sorted({row["commit"] for row in rows.values()}),
        "arms": {name: arm.told for name, arm in ARMS.items()},
        "tuning": [
            told
            for trials in TRIALS.values()
            for level in trials.levels
            if (told := tuning(rows, trials, level))["runs"] or level == MIDDLE
        ],
        "main": with_holm(compared(main, rows, MEASURES | FINDINGS)),
        "contrasts": contrasts(main, rows),
        "levels": levels(rows),
        "large": large(rows),
        "mechanism": {arm: mechanism(main, arm, rows) for arm in ARMS},
        "not_run": not_run(rows),
    }


def outside(rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Return what no table holds, by arm and level: runs that failed or are not in the plan."""
    planned = {run for stage in (*TRIALS, *STAGES) for run in runs_of(stage, rows)}
    groups: dict[tuple[str, str | None], list[Row]] = {}
    for run in in_order(rows):
        error = rows[run.key].get("error")
        if error or run not in planned:
            groups.setdefault((run.told(), error), []).append(rows[run.key])
    return [
        {
            "run": told,
            "seeds": [row["run"]["seed"] for row in found],
            "error": error,
            **{
                name: rounded(statistics.fmean(map(read, found)))
                for name, read in PRIMARY.items()
                if not error
            },
        }
        for (told, error), found in groups.items()
    ]


def tuning(rows: Mapping[str, Row], trials: Trials, level: Level) -> dict[str, Any]:
    """Return the validation scores of every arm at every rate of a level, and what was chosen."""
    scores = {
        arm: {
            str(rate): rounded(scores_of(rows, trials, arm, rate, level)) for rate in trials.rates
        }
        for arm in trials.arms
    }
    return {
        "level": told_level(level),
        "seeds": list(trials.seeds),
        "runs": sum(len(found) for by_rate in scores.values() for found in by_rate.values()),
        "scores": scores,
        "chosen": choose_rates(rows, level),
    }


def told_level(level: Level) -> str:
    """Return the values of a level, such as ``"batch 512, passes 4.0"``."""
    return ", ".join(f"{name} {value}" for name, value in level.items()) or "middle"


def large(rows: Mapping[str, Row]) -> dict[str, Any]:
    """Return the main comparison of every larger network that was run."""
    runs = runs_of("large", rows)
    by_encoder = {
        encoder: [run for run in runs if run.encoder == encoder and run.key in rows]
        for encoder in LARGE
    }
    return {
        encoder: with_holm(compared(found, rows)) for encoder, found in by_encoder.items() if found
    }


def compared(
    runs: Iterable[Run], rows: Mapping[str, Row], measures: Measures = MEASURES
) -> dict[str, Any]:
    """Return values by seed, means, and paired differences from CLIP of each arm of one level.

    The runs of a level differ in arm and seed, and in what tuning chose for an arm. A seed counts
    for an arm if both its run and that of CLIP are done and have the measure.
    """
    by_arm = rows_by_arm(runs, rows)
    clip = by_arm.get("clip", {})
    return {
        "seeds": sorted({seed for found in by_arm.values() for seed in found}),
        "chance": {
            name: rounded(statistics.fmean(map(read, clip.values())))
            for name, read in CHANCE.items()
            if clip
        },
        "arms": {arm: compared_arm(found, clip, measures) for arm, found in by_arm.items()},
    }


def rows_by_arm(runs: Iterable[Run], rows: Mapping[str, Row]) -> dict[str, dict[int, Row]]:
    """Return the rows of runs that are done, by arm and seed."""
    by_arm: dict[str, dict[int, Row]] = {}
    for run in runs:
        if "test" in rows.get(run.key, {}):
            by_arm.setdefault(run.arm, {})[run.seed] = rows[run.key]
    return by_arm


def contrasts(runs: Iterable[Run], rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Return the paired differences of some arms from others than CLIP."""
    by_arm = rows_by_arm(runs, rows)
    for rate in BASE_RATES:
        found = {seed: rows.get(at(MIDDLE, BASE, seed, rate).key, {}) for seed in MAIN_SEEDS}
        by_arm[f"{BASE} at rate {rate:g}"] = {s: row for s, row in found.items() if "test" in row}
    return [
        {
            "arm": arm,
            "than": than,
            **{
                name: told["difference"]
                for name, told in compared_arm(by_arm[arm], by_arm[than], PRIMARY).items()
            },
        }
        for arm, than in CONTRASTS
        if by_arm.get(arm) and by_arm.get(than)
    ]


def compared_arm(
    found: Mapping[int, Row], base: Mapping[int, Row], measures: Measures
) -> dict[str, Any]:
    """Return one arm's values by seed and what they are beside another's."""
    told: dict[str, Any] = {}
    for name, read in measures.items():
        values = {seed: read(row) for seed, row in sorted(found.items())}
        known = {seed: value for seed, value in values.items() if not math.isnan(value)}
        pairs = [
            value - read(base[seed])
            for seed, value in known.items()
            if seed in base and not math.isnan(read(base[seed]))
        ]
        told[name] = {
            "values": {str(seed): rounded(value) for seed, value in known.items()},
            "mean": rounded(statistics.fmean(known.values())) if known else None,
            "difference": None if found is base else rounded(paired_t(pairs)),
        }
    return told


def with_holm(level: dict[str, Any]) -> dict[str, Any]:
    """Add Holm's adjusted p to the primary measures of all arms but the controls."""
    family = {
        (arm, name): told[name]["difference"]
        for arm, told in level["arms"].items()
        if arm not in CONTROLS
        for name in PRIMARY
        if told[name]["difference"] is not None
    }
    names = {f"{arm}|{name}": difference for (arm, name), difference in family.items()}
    for key, p in holm({key: each["p"] for key, each in names.items()}).items():
        names[key]["p_holm"] = rounded(p)
    return level


def levels(rows: Mapping[str, Row]) -> dict[str, Any]:
    """Return every level of every factor, by stage; the middle stands among the others."""
    rates = choose_rates(rows)
    return {
        stage: {
            level: compared(runs, rows, LEVEL_MEASURES)
            for level, runs in runs_by_level(runs_of(stage, rows), rates).items()
        }
        for stage in STAGES
        if stage not in ("main", "large")
    }


def runs_by_level(runs: Sequence[Run], rates: Mapping[str, float]) -> dict[str, list[Run]]:
    """Return the runs of each level in the order of the values; each with CLIP.

    What changes a target leaves CLIP where it was in the middle.
    """
    middle = [
        Run(run.arm, run.seed, learning_rate=rates[run.arm]) for run in runs if run.arm in rates
    ]
    everywhere = list(dict.fromkeys([*middle, *runs]))
    factors = [name for name in asdict(Run("", 0)) if any(differs(run, name) for run in runs)]
    ordered = sorted(everywhere, key=lambda run: [getattr(run, name) for name in factors])
    found: dict[str, list[Run]] = {}
    for run in ordered:
        found.setdefault(level_of(run, factors), []).append(run)
    seeds = sorted({run.seed for run in runs})
    clip = [Run("clip", seed, learning_rate=rates["clip"]) for seed in seeds if "clip" in rates]
    return {
        level: each if any(run.arm == "clip" for run in each) else [*clip, *each]
        for level, each in found.items()
    }


def differs(run: Run, factor: str) -> bool:
    """Tell whether a factor of a run is not as in the middle; arm, seed and rate are none."""
    middle = Run(run.arm, run.seed, learning_rate=run.learning_rate)
    return bool(getattr(run, factor) != getattr(middle, factor))


def level_of(run: Run, factors: Sequence[str]) -> str:
    """Return the values of some factors, such as ``"batch 128"`` or ``"batch 50 (middle)"``."""
    values = ", ".join(f"{name} {getattr(run, name)}" for name in factors)
    return values if any(differs(run, name) for name in factors) else f"{values} (middle)"


def mechanism(runs: Sequence[Run], arm: str, rows: Mapping[str, Row]) -> dict[str, Any]:
    """Return the means over seeds of an arm's history, and of the shape of its target."""
    found = [rows[run.key] for run in runs if run.arm == arm and "history" in rows.get(run.key, {})]
    if not found:
        return {}
    history = {
        name: rounded([statistics.fmean(each) for each in zip(*columns, strict=True)])
        for name in found[0]["history"]
        if (columns := [row["history"][name] for row in found])
    }
    target = {
        name: rounded(statistics.fmean(row["target"][name] for row in found))
        for name in found[0]["target"]
    }
    smoothing = rounded(statistics.fmean(row["label_smoothing"] for row in found))
    return {"history": history, "target": target, "label_smoothing": smoothing}


def not_run(rows: Mapping[str, Row]) -> dict[str, int]:
    """Return how many planned runs have no row yet, by stage."""
    missing = {
        stage: sum(run.key not in rows for run in dict.fromkeys(runs_of(stage, rows, plan=True)))
        for stage in (*TRIALS, *STAGES)
    }
    return {stage: count for stage, count in missing.items() if count}
