"""Which runs the study has, in which order: stopped anywhere, what is there is paired."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from evidence_rows import Row
from evidence_runs import ARMS, Run

RATES = (1.5e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2)
"""Learning rates that every arm is tried with."""

TUNE_SEEDS = (100,)
MAIN_SEEDS = tuple(range(10))
OTHER_SEEDS = tuple(range(5))
FACTOR_ARMS = ("clip", "best8", "best8 unique")
WIDTH_ARMS = ("clip", "identical", "best8", "paper exact")

Rates = Mapping[str, float]
"""The chosen learning rate of each arm."""


def tuning_runs() -> Iterator[Run]:
    """Yield every arm at every rate: as many trials for each."""
    for seed in TUNE_SEEDS:
        for rate in RATES:
            for arm in ARMS:
                yield Run(arm, seed, learning_rate=rate)


def choose_rates(rows: Mapping[str, Row]) -> dict[str, float]:
    """Return each arm's rate of the best mean validation score, of arms whose trials are done."""
    chosen = {}
    for arm in ARMS:
        scores = {rate: validation_scores(rows, arm, rate) for rate in RATES}
        if all(len(each) == len(TUNE_SEEDS) for each in scores.values()):
            chosen[arm] = max(RATES, key=lambda rate: sum(scores[rate]))
    return chosen


def validation_scores(rows: Mapping[str, Row], arm: str, rate: float) -> list[float]:
    """Return the validation scores of the trials that are done; a failed one counts as 0."""
    keys = [Run(arm, seed, learning_rate=rate).key for seed in TUNE_SEEDS]
    return [float(rows[key].get("validation", 0.0)) for key in keys if key in rows]


def main_runs(rates: Rates) -> Iterator[Run]:
    """Yield the main comparison: every arm in the middle of the study, ten seeds."""
    return across(MAIN_SEEDS, ARMS, [{}], rates)


def across(
    seeds: Sequence[int],
    arms: Sequence[str] | Mapping[str, object],
    levels: Sequence[Mapping[str, object]],
    rates: Rates,
) -> Iterator[Run]:
    """Yield runs seed by seed, in each level by level, in each arm by arm."""
    for seed in seeds:
        for level in levels:
            for arm in arms:
                if arm in rates:
                    run = Run(arm, seed, learning_rate=rates[arm])
                    yield replace(run, **level)  # type: ignore[arg-type]


def factor(
    levels: Sequence[Mapping[str, object]], arms: Sequence[str] = FACTOR_ARMS
) -> Callable[[Rates], Iterator[Run]]:
    """Return the stage that changes one factor around the middle."""
    return lambda rates: across(OTHER_SEEDS, arms, levels, rates)


def weights(*pairs: tuple[float, float]) -> list[dict[str, object]]:
    """Return levels of align weight and similarity weight."""
    return [{"align_weight": align, "similarity_weight": similarity} for align, similarity in pairs]


TARGET_ARMS = ("identical", "best8")

STAGES: dict[str, Callable[[Rates], Iterator[Run]]] = {
    "main": main_runs,
    "null": factor([{"permuted": True}]),
    "share": factor(weights((0.75, 0.25), (0.25, 0.75), (0.0, 1.0)), ["best8"]),
    "width": factor([{"width": 0.125}, {"width": 0.5}], WIDTH_ARMS),
    "train": factor([{"train": 100}, {"train": 400}, {"train": 4000}]),
    "scale": factor([{"learn_scale": False}]),
    "noise": factor([{"noise": 0.05}, {"noise": 0.2}], TARGET_ARMS),
    "batch": factor([{"batch": 16}, {"batch": 128}, {"batch": 512}]),
    "normal": factor([{"normal_share": 0.2}, {"normal_share": 0.7}]),
    "tail": factor([{"tail": 0.0}]),
    "schedule": factor([{"schedule": "falling"}, {"schedule": "rising"}], TARGET_ARMS),
    "passes": factor([{"passes": 3.0}]),
    "sum": factor(weights((1.0, 0.25), (1.0, 1.0), (1.0, 4.0)), ["best8"]),
}
"""After tuning, in the order of what matters most; each with the runs that the rates decide."""

TUNE = "tune"


def runs_of(stage: str, rows: Mapping[str, Row], *, plan: bool = False) -> list[Run]:
    """Return the runs of a stage; those after tuning, of the arms whose rate is chosen.

    With ``plan`` arms without a rate yet stand there with the middle one.
    """
    if stage == TUNE:
        return list(tuning_runs())
    supposed = dict.fromkeys(ARMS, RATES[1]) if plan else {}
    return list(STAGES[stage](supposed | choose_rates(rows)))


def cost(run: Run) -> float:
    """Return the time of a run as a multiple of one in the middle, roughly."""
    middle = Run(run.arm, run.seed)
    seen = run.steps * run.batch / (middle.steps * middle.batch)
    # Width changes the channels; the stem's share does not fall with them.
    return seen * {0.125: 0.6, 0.25: 1.0, 0.5: 2.5}.get(run.width, run.width / 0.25)
