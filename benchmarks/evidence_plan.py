"""Which runs the study has, in which order: stopped anywhere, what is there is paired."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evidence_rows import Row
from evidence_runs import ARMS, Run
from selip_core.simulation.contrast import SEQUENCES

RATES = (1.5e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2)
"""Learning rates that every arm is tried with."""

TUNE_SEEDS = (100,)
MAIN_SEEDS = tuple(range(10))
OTHER_SEEDS = tuple(range(5))
FACTOR_ARMS = ("clip", "best8", "best8 unique")
WIDTH_ARMS = ("clip", "identical", "best8", "paper exact")
TARGET_ARMS = ("identical", "best8")
NULL_ARMS = (*FACTOR_ARMS, "identical", "paper exact")
BASE = "clip"
BASE_RATES = (6e-3, 1.2e-2)
"""The best two of plain CLIP: on its rate every difference rests, so that more seeds decide it."""

Level = Mapping[str, object]
"""What a run has besides arm, seed and rate; the rest is as in the middle."""
Rates = Mapping[str, float]
"""The chosen learning rate of each arm."""
RatesAt = Callable[[Level], Rates]
Stage = Callable[[RatesAt], Iterator[Run]]

MIDDLE: Level = {}
LARGE_BATCH: Level = {"batch": 512, "passes": 4.0}
"""As many pairs as in the middle would be 20 steps, in which nothing is learned."""

LARGE: dict[str, Level] = {
    encoder: {
        "encoder": encoder,
        "width": 1.0,
        "spacing_mm": 2.0,
        "sequences": SEQUENCES,
        "train": 4000,
    }
    for encoder in ("resnet18", "resnet50")
}
"""The main comparison again, for a GPU."""


@dataclass(frozen=True)
class Trials:
    """Which rates which arms are tried with, and where: every arm as often as every other."""

    levels: Sequence[Level]
    arms: Sequence[str] = tuple(ARMS)
    rates: Sequence[float] = RATES
    seeds: Sequence[int] = TUNE_SEEDS

    def runs(self) -> Iterator[Run]:
        """Yield every arm at every rate on every seed, level by level."""
        for level in self.levels:
            for seed in self.seeds:
                for rate in self.rates:
                    for arm in self.arms:
                        yield at(level, arm, seed, rate)


TRIALS: dict[str, Trials] = {
    "tune": Trials([MIDDLE]),
    "base-tune": Trials([MIDDLE], (BASE,), BASE_RATES, (*TUNE_SEEDS, *MAIN_SEEDS)),
    # A thousand studies have no 512 reports that differ: no arm of such batches is tried.
    "batch-tune": Trials([LARGE_BATCH], ("clip", "best8"), RATES[:4]),
    "large-tune": Trials(list(LARGE.values())),
}


def at(level: Level, arm: str, seed: int, rate: float) -> Run:
    """Return the run of an arm at a level."""
    return replace(Run(arm, seed, learning_rate=rate), **level)  # type: ignore[arg-type]


def trials_of(level: Level) -> tuple[dict[str, Trials], Level]:
    """Return the trials that decide an arm's rate at a level, by arm, and where they are.

    A level without its own has those of the middle.
    """
    tried_at = level if any(level in trials.levels for trials in TRIALS.values()) else MIDDLE
    own = [trials for trials in TRIALS.values() if tried_at in trials.levels]
    return {arm: trials for trials in own for arm in trials.arms}, tried_at


def choose_rates(rows: Mapping[str, Row], level: Level = MIDDLE) -> dict[str, float]:
    """Return each arm's rate of the best mean validation score, of arms whose trials are done."""
    by_arm, tried_at = trials_of(level)
    chosen = {}
    for arm, trials in by_arm.items():
        scores = {rate: scores_of(rows, trials, arm, rate, tried_at) for rate in trials.rates}
        if all(len(each) == len(trials.seeds) for each in scores.values()):
            chosen[arm] = max(trials.rates, key=lambda rate: sum(scores[rate]))
    return chosen


def scores_of(
    rows: Mapping[str, Row], trials: Trials, arm: str, rate: float, level: Level
) -> list[float]:
    """Return the validation scores of the trials that are done; a failed one counts as 0."""
    keys = [at(level, arm, seed, rate).key for seed in trials.seeds]
    return [float(rows[key].get("validation", 0.0)) for key in keys if key in rows]


def compare(
    levels: Sequence[Level],
    arms: Sequence[str] = FACTOR_ARMS,
    seeds: Sequence[int] = OTHER_SEEDS,
) -> Stage:
    """Return a stage: seed by seed, in each level by level, in each arm by arm.

    An arm waits for its trials.
    """

    def runs(rates_at: RatesAt) -> Iterator[Run]:
        for seed in seeds:
            for level in levels:
                rates = rates_at(level)
                for arm in arms:
                    if arm in rates:
                        yield at(level, arm, seed, rates[arm])

    return runs


def weights(*pairs: tuple[float, float]) -> list[Level]:
    """Return levels of align weight and similarity weight."""
    return [{"align_weight": align, "similarity_weight": similarity} for align, similarity in pairs]


STAGES: dict[str, Stage] = {
    "main": compare([MIDDLE], tuple(ARMS), MAIN_SEEDS),
    "null": compare([{"permuted": True}], NULL_ARMS),
    "share": compare(weights((0.75, 0.25), (0.25, 0.75), (0.0, 1.0)), ["best8"]),
    "width": compare([{"width": 0.125}, {"width": 0.5}], WIDTH_ARMS),
    "train": compare([{"train": 100}, {"train": 400}, {"train": 4000}]),
    "scale": compare([{"learn_scale": False}]),
    "noise": compare([{"noise": 0.05}, {"noise": 0.2}], TARGET_ARMS),
    "normal": compare([{"normal_share": 0.2}, {"normal_share": 0.7}]),
    "tail": compare([{"tail": 0.0}]),
    "batch": compare([{"batch": 16}, LARGE_BATCH]),
    "schedule": compare([{"schedule": "falling"}, {"schedule": "rising"}], TARGET_ARMS),
    "passes": compare([{"passes": 3.0}]),
    "sum": compare(weights((1.0, 0.25), (1.0, 4.0)), ["best8"]),
    "large": compare(list(LARGE.values()), tuple(ARMS)),
}
"""What is measured, each on the rates that its trials chose."""

GPU_STAGES = ("large-tune", "large")
"""Too much for a processor; done where they are asked for."""


def runs_of(stage: str, rows: Mapping[str, Row], *, plan: bool = False) -> list[Run]:
    """Return the runs of a stage; those that are measured, of the arms whose rate is chosen.

    With ``plan`` arms without a rate yet stand there with the middle one.
    """
    if stage in TRIALS:
        return list(TRIALS[stage].runs())

    def rates_at(level: Level) -> Rates:
        supposed = dict.fromkeys(trials_of(level)[0], RATES[1]) if plan else {}
        return supposed | choose_rates(rows, level)

    return list(STAGES[stage](rates_at))


def cost(run: Run) -> float:
    """Return the time of a run on a processor as a multiple of one in the middle, roughly."""
    middle = Run(run.arm, run.seed)
    seen = run.steps * run.batch / (middle.steps * middle.batch)
    # Width changes the channels; the stem's share does not fall with them.
    return seen * {0.125: 0.6, 0.25: 1.0, 0.5: 2.5}.get(run.width, run.width / 0.25)
