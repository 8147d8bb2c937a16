import itertools
from dataclasses import asdict, replace

import pytest


@pytest.fixture
def plan(_benchmarks_are_importable):
    import evidence_plan

    return evidence_plan


@pytest.fixture
def tuned(plan):
    """Rows of all tuning runs: each arm is best at the rate in its place."""
    rows = {}
    for run in [*plan.TRIALS["base-tune"].runs(), *plan.TRIALS["tune"].runs()]:
        best = plan.RATES[list(plan.ARMS).index(run.arm) % len(plan.RATES)]
        if run.arm == plan.BASE:
            best = plan.BASE_RATES[run.seed in plan.TUNE_SEEDS]
        rows[run.key] = {"run": asdict(run), "validation": float(run.learning_rate == best)}
    return rows


@pytest.mark.parametrize("stage", ["tune", "base-tune", "batch-tune", "large-tune"])
def test_every_arm_is_tuned_alike(plan, stage):
    trials = plan.TRIALS[stage]
    runs = list(trials.runs())
    by_arm = {arm: {replace(run, arm="") for run in runs if run.arm == arm} for arm in trials.arms}
    assert len(set(map(frozenset, by_arm.values()))) == 1
    expected = len(trials.arms) * len(trials.rates) * len(trials.levels) * len(trials.seeds)
    assert len(set(runs)) == len(runs) == expected


def test_a_level_of_its_own_trials_waits_for_them(plan, tuned):
    levels = {run.batch for run in plan.runs_of("batch", tuned)}
    assert levels == {16}
    trials = [run for run in plan.TRIALS["batch-tune"].runs() if run.arm == "best8"]
    done = {run.key: {"validation": run.learning_rate} for run in trials}
    (rate,) = {run.learning_rate for run in plan.runs_of("batch", tuned | done) if run.batch == 512}
    assert rate == max(run.learning_rate for run in trials)
    assert rate != plan.choose_rates(tuned)["best8"]


def test_the_best_rate_on_validation_is_taken(plan, tuned):
    chosen = plan.choose_rates(tuned)
    assert [chosen[arm] for arm in plan.ARMS if arm != plan.BASE] == [
        rate for rate, _ in zip(itertools.cycle(plan.RATES), plan.ARMS, strict=False)
    ][1:]


def test_more_seeds_decide_the_rate_of_the_base(plan, tuned):
    assert plan.choose_rates(tuned)[plan.BASE] == plan.BASE_RATES[0]
    *_, last = plan.TRIALS["base-tune"].runs()
    del tuned[last.key]
    assert plan.BASE not in plan.choose_rates(tuned)


def test_an_arm_waits_for_its_last_trial(plan, tuned):
    (key,) = [run.key for run in plan.TRIALS["tune"].runs() if run.arm == "best8"][-1:]
    del tuned[key]
    assert "best8" not in plan.choose_rates(tuned)
    assert "best8" not in {run.arm for run in plan.runs_of("main", tuned)}


def test_tuning_seeds_are_measured_nowhere(plan, tuned):
    for stage in plan.STAGES:
        assert not {run.seed for run in plan.runs_of(stage, tuned)} & set(plan.TUNE_SEEDS)


def test_whole_seeds_come_first(plan, tuned):
    seeds = [run.seed for run in plan.runs_of("main", tuned)]
    assert seeds == sorted(seeds)
    assert len(set(seeds)) >= 10
    assert {run.arm for run in plan.runs_of("main", tuned) if run.seed == 0} == set(plan.ARMS)


def test_factors_change_one_thing(plan, tuned):
    from evidence_summary import differs

    for stage in plan.STAGES:
        # These change pairs of weights, the length with the batch, or the whole setting.
        if stage in ("main", "share", "sum", "batch", "large"):
            continue
        for run in plan.runs_of(stage, tuned):
            assert sum(differs(run, name) for name in asdict(run)) == 1
