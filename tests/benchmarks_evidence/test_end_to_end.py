"""Runs on a few small studies, from the simulation to the tables."""

import json
from dataclasses import replace

import pytest


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Make all studies small; return how a run is made of an arm, and a folder of work."""
    import evidence_data
    import evidence_measures
    import evidence_runs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence_data, "MIDDLE_TRAIN", 24)
        patch.setattr(evidence_data, "VALIDATION", 8)
        patch.setattr(evidence_data, "TEST", 14)
        patch.setattr(evidence_runs, "MIDDLE_STEPS", 5)
        patch.setattr(evidence_measures, "FEWEST", 1)
        patch.setattr(evidence_measures, "LABEL_SHARES", {10: 1, 100: 1})
        middle = evidence_runs.Run("clip", 0, train=24, batch=8, width=1 / 16, spacing_mm=10.0)
        yield (
            lambda arm, **factors: replace(middle, arm=arm, **factors),
            tmp_path_factory.mktemp("w"),
        )


@pytest.fixture(scope="module")
def row(small):
    from evidence import execute

    make, work = small
    return execute(make("best8"), work)


def test_a_row_holds_what_the_study_reads(row, small):
    from evidence_readings import CHANCE, MEASURES
    from evidence_rows import rounded
    from evidence_runs import Run

    assert "error" not in row
    assert row["run"]["arm"] == "best8"
    for read in (*MEASURES.values(), *CHANCE.values()):
        assert isinstance(rounded(read(row)), float)
    steps = row["history"]["step"]
    assert steps == sorted(steps)
    assert steps[-1] == row["steps"] == small[0]("best8").steps
    assert {len(values) for values in row["history"].values()} == {len(steps)}
    assert 0 < row["target"]["own_mass"] <= 1
    assert all(0 < share < 1 for share in row["history"]["similarity_share"])
    assert json.loads(json.dumps(row)) == row
    assert Run.from_json(row["run"]) == small[0]("best8")
    assert {"seconds", "cpu_seconds", "environment", "commit"} <= row.keys()


def test_the_same_run_gives_the_same_figures(row, small):
    from evidence import execute

    make, work = small
    again = execute(make("best8"), work)
    assert again["test"] == row["test"]
    assert again["history"] == row["history"]


def test_arms_of_a_seed_share_weights_and_batches(small):
    import torch

    from evidence_data import load_data
    from evidence_training import Training, build_model

    make, work = small
    data = load_data(work, make("clip").data)
    one, other = (build_model(make(arm), 384) for arm in ("clip", "oracle"))
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    first, second = (Training.of(make(arm), data).first for arm in ("clip", "oracle"))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize(
    "arm",
    ["clip smoothed", "clip unique", "identical", "paper exact", "mixed", "shuffled", "oracle"],
)
def test_every_kind_of_target_is_one(small, arm):
    from evidence_data import load_data
    from evidence_training import Training, build_loss

    make, work = small
    run = make(arm, noise=0.2, batch=4)
    data = load_data(work, run.data)
    training = Training.of(run, data)
    loss_fn = build_loss(run, training, data)
    assert (loss_fn.label_smoothing > 0) == (arm == "clip smoothed")
    if training.target is None:
        assert loss_fn.similarity_weight == 0
        return
    everyone = training.target(training.first[0]).dense()
    assert everyone.diagonal().tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert everyone.min() >= 0
    assert everyone.max() <= 1 + 1e-5


def test_the_mass_of_identical_positives_is_on_what_says_the_same(small):
    from evidence_shapes import masses

    make, work = small
    of_equal, of_alike = (masses(make(arm), work) for arm in ("identical", "best8"))
    assert of_equal["same_mass"] == pytest.approx(1.0)
    assert 0 < of_alike["own_mass"] <= of_alike["same_mass"] < 1


@pytest.mark.usefixtures("small")
def test_every_site_of_the_simulator_has_a_prompt():
    from evidence_data import PROMPTS, SITES
    from selip_core.simulation import sites

    assert set(SITES) == set(sites.SITES)
    assert set(SITES) <= set(PROMPTS)


def test_phrasings_of_the_test_are_held_out(small):
    from evidence_data import load_data

    make, work = small
    data = load_data(work, make("clip").data)
    held_out = {
        split: {one.model_extra["held_out_phrasing"] for one in getattr(data, split).reports}
        for split in ("train", "validation", "test")
    }
    assert held_out == {"train": {False}, "validation": {True}, "test": {True}}


def test_a_permuted_run_pairs_images_with_others(small):
    from evidence_data import load_data
    from evidence_training import Training

    make, work = small
    data = load_data(work, make("clip").data)
    shown = [report.id for report in Training.of(make("clip", permuted=True), data).reports[:24]]
    own = [report.id for report in data.train.reports]
    assert sorted(shown) == sorted(own)
    assert sum(map(str.__eq__, shown, own)) < 8


def test_noise_spoils_its_share_of_the_fields(small):
    from evidence_data import load_data
    from evidence_targets import FIELDS, noisy_reports

    make, work = small
    reports = load_data(work, make("clip").data).train.reports
    spoiled = noisy_reports(reports, 0.5, seed=0)
    pairs = [
        (one.value(field), other.value(field))
        for report, changed in zip(reports, spoiled, strict=True)
        for one, other in zip(report.findings, changed.findings, strict=True)
        for field in FIELDS
    ]
    changed = sum(one != other for one, other in pairs) / len(pairs)
    lost = sum(one is not None and other is None for one, other in pairs) / len(pairs)
    assert changed == pytest.approx(0.5, abs=0.15)
    assert lost == pytest.approx(0.25, abs=0.12)


def test_data_that_another_process_makes_is_not_waited_for(small, monkeypatch):
    import evidence
    import evidence_data
    from evidence_rows import RowFile

    make, work = small
    run = make("clip", seed=7)
    with evidence_data._locked(evidence_data._folder(work, run.data)):
        assert evidence_data.is_being_made(work, run.data)
        assert not evidence.try_run(run, RowFile(work), work)
    assert not evidence_data.is_being_made(work, run.data)


def test_the_similarity_alone_is_looked_at(small):
    from evidence import execute

    make, work = small
    row = execute(make("best8", align_weight=0.0, similarity_weight=1.0), work)
    assert set(row["history"]["similarity_share"]) == {1.0}


def test_a_run_that_fails_leaves_a_row(small, monkeypatch):
    import evidence_training
    from evidence import execute

    def diverge(*args):
        raise ValueError("the loss is nan")

    monkeypatch.setattr(evidence_training, "train", diverge)
    make, work = small
    assert execute(make("clip"), work)["error"] == "the loss is nan"


def test_what_is_done_is_not_done_again_and_the_tables_pair_seeds(row, small, monkeypatch, capsys):
    import evidence
    import evidence_plan
    from evidence_rows import RowFile
    from evidence_summary import summarise

    make, work = small
    chosen = dict.fromkeys(("clip", "best8"), 3e-3)
    runs = [make(arm, seed=seed) for seed in (0, 1) for arm in chosen]
    monkeypatch.setattr(evidence_plan, "choose_rates", lambda *_: chosen)
    monkeypatch.setitem(evidence_plan.STAGES, "main", lambda rates: iter(runs))
    calls = []

    def execute(run, work, device):
        calls.append(run)
        recall = {"value": (0.1 + 0.1 * run.seed) * (1 + 2 * (run.arm == "best8")), "chance": 0.01}
        test = row["test"] | {f"{way} R@1": recall for way in ("image_to_text", "text_to_image")}
        told = {"seconds": 1.0, "cpu_seconds": 1.0, "validation": 0.5}
        return row | told | {"run": vars(run), "test": test}

    monkeypatch.setattr(evidence, "execute", execute)
    evidence.work_through(work, ["main"])
    evidence.work_through(work, ["main"])
    assert calls == runs
    told = summarise(RowFile(work).read())["main"]["arms"]["best8"]["R@1"]
    assert told["values"] == {"0": 0.3, "1": 0.6}
    assert told["difference"]["mean"] == pytest.approx(0.3)
    evidence.show_plan(work, ["main"])
    assert "4 runs,    0 missing" in capsys.readouterr().out


def test_larger_volumes_of_several_sequences(small):
    from evidence import execute
    from evidence_readings import CHANCE, MEASURES

    make, work = small
    large = {"encoder": "resnet18", "sequences": ("FLAIR", "DWI"), "learning_rate": 1e-3}
    row = execute(make("oracle", batch=12, **large), work)
    assert "error" not in row
    assert row["steps"] == round(5 * 50 * 2**0.5 * (24 / 1000) ** 0.5 / 12)
    by_sequence = row["test"].pop("by_sequence")
    assert list(by_sequence) == ["FLAIR", "DWI"]
    # A group's prompts that one sequence alone can measure count once.
    plain = [read for name, read in MEASURES.items() if not name.startswith("zero-shot AUC, ")]
    for read in (*plain, *CHANCE.values()):
        one, other = (read({"test": found}) for found in by_sequence.values())
        assert read(row) == pytest.approx((one + other) / 2, rel=1e-3, nan_ok=True)


def test_the_lesions_of_the_oracle_are_those_of_the_own_sequence(small):
    import torch

    from evidence_data import load_data
    from evidence_training import Training

    make, work = small
    run = make("oracle", sequences=("FLAIR", "DWI"))
    data = load_data(work, run.data)
    training = Training.of(run, data)
    rows = data.train.manifest.rows
    normal = [
        not any(row.sequence in one.visible_in for one in data.truth[row.study]) for row in rows
    ]
    everyone = torch.arange(len(rows))
    found = training.target(everyone).dense()
    is_normal = torch.tensor(normal)
    assert is_normal.any()
    assert (found[is_normal][:, is_normal] == 1).all()
    assert (found[is_normal][:, ~is_normal] == 0).all()
