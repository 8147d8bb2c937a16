"""From made-up rows to what the page shows."""

import pytest

GAIN = {"identical": 0.1, "best8": 0.2}
RATE = 6e-3


@pytest.fixture
def rows(_benchmarks_are_importable):
    """Rows of three arms, three seeds, and one level of a factor; R@1 is 0.3 and a gain."""
    import evidence_plan
    from evidence_runs import ARMS, Run

    found = {}

    def add(run, **told):
        found[run.key] = {"run": run.to_json(), "cpu_seconds": 9.0, "commit": "c", **told}

    for run in evidence_plan.TRIALS["tune"].runs():
        add(run, validation=float(run.learning_rate == RATE))
    for run in evidence_plan.TRIALS["base-tune"].runs():
        told = {"test": figures(0.1)} if run.learning_rate != RATE else {}
        add(run, validation=float(run.learning_rate == RATE), **told)
    for seed in range(3):
        for arm in ("clip", *GAIN):
            for permuted in (False, True):
                gain = 0.0 if permuted else GAIN.get(arm, 0.0) * (1 + 0.1 * seed)
                run = Run(arm, seed, permuted=permuted, learning_rate=RATE)
                history = {"step": [1, 2], "own_mass": [0.1, 0.2 + seed], "logit_scale": [14, 15]}
                history |= {"similarity_share": [0.5, 0.4], "agreement": [0.1, 0.0]}
                history |= {"gradient": [2.0, 1.0], "positives": [9.0, 4.0]}
                target = {"own_mass": 0.4, "positives": 2.0} if ARMS[arm].target else {}
                told = {"history": history, "target": target, "label_smoothing": 0.0}
                add(run, validation=0.5, test=figures(0.3 + gain), **told)
    return found


def figures(value):
    names = [f"{way} {k}" for way in ("image_to_text", "text_to_image") for k in RETRIEVED]
    plain = [f"probe_auc {share} %" for share in (1, 5, 10, 100)]
    plain += ["zero_shot_auc", "alignment", "image_uniformity", "text_uniformity"]
    plain += ["rank_correlation", "calibration_error"]
    retrieved = {name: {"value": value, "chance": 0.01} for name in names}
    found = {"zero_shot_aucs": {"left": value}, "probe_aucs": {"demyelination": value}}
    return {**retrieved, "normal R@1": None, **dict.fromkeys(plain, value), **found}


RETRIEVED = ("R@1", "R@5", "R@10", "nDCG@10", "kind@1")


@pytest.fixture
def result(rows):
    from evidence_summary import summarise

    return summarise(rows)


def test_differences_are_paired_by_seed(result):
    found = result["main"]["arms"]["best8"]["R@1"]
    assert found["mean"] == pytest.approx(0.52)
    assert found["difference"]["mean"] == pytest.approx(0.22)
    assert found["difference"]["effect"] == pytest.approx(0.22 / 0.02, rel=1e-3)
    assert result["main"]["arms"]["clip"]["R@1"]["difference"] is None


def test_holm_covers_the_primary_measures(result):
    family = [
        told[name]["difference"]
        for arm, told in result["main"]["arms"].items()
        if arm != "clip"
        for name in ("R@1", "nDCG@10", "probe AUC")
    ]
    assert len(family) == 6
    smallest = min(family, key=lambda each: each["p"])
    assert smallest["p_holm"] == pytest.approx(6 * smallest["p"], rel=1e-3)
    assert "p_holm" not in result["main"]["arms"]["best8"]["kind@1"]["difference"]


def test_a_level_is_compared_with_clip_at_that_level(result):
    null = result["levels"]["null"]
    assert list(null) == ["permuted False (middle)", "permuted True"]
    assert null["permuted True"]["arms"]["best8"]["R@1"]["difference"]["mean"] == 0
    assert null["permuted False (middle)"]["arms"]["best8"]["R@1"]["difference"][
        "mean"
    ] == pytest.approx(0.22)


def test_arms_are_compared_with_others_than_clip(result):
    found, *_ = result["contrasts"]
    assert (found["arm"], found["than"]) == ("best8", "identical")
    assert found["R@1"]["mean"] == pytest.approx(0.11)


def test_a_level_tells_its_pairs(rows):
    from evidence_results import level_rows

    from evidence_runs import Run
    from evidence_summary import summarise

    del rows[Run("clip", 2, permuted=True, learning_rate=RATE).key]
    seeds = {tuple(row[1:3]): row[3] for row in level_rows(summarise(rows))}
    assert seeds["permuted True", "best8"] == "2"
    assert seeds["permuted False (middle)", "best8"] == "3"


@pytest.mark.usefixtures("_benchmarks_are_importable")
def test_levels_stand_in_the_order_of_their_values():
    from evidence_runs import Run
    from evidence_summary import runs_by_level

    rates = {"clip": RATE, "best8": RATE}
    levels = [{"batch": 128}, {"batch": 16}]
    found = runs_by_level([Run("best8", 0, **level) for level in levels], rates)
    assert list(found) == ["batch 16", "batch 50 (middle)", "batch 128"]
    assert {run.arm for runs in found.values() for run in runs} == {"clip", "best8"}


def test_a_seed_without_clip_is_no_pair(rows):
    from evidence_runs import Run
    from evidence_summary import summarise

    del rows[Run("clip", 2, learning_rate=RATE).key]["test"]
    found = summarise(rows)["main"]["arms"]["best8"]["R@1"]
    assert list(found["values"]) == ["0", "1", "2"]
    assert found["difference"]["mean"] == pytest.approx(0.21)


def test_a_failed_run_is_told(rows):
    from evidence_runs import Run
    from evidence_summary import summarise

    run = Run("best8", 1, learning_rate=RATE)
    rows[run.key] = {"run": run.to_json(), "cpu_seconds": 1.0, "commit": "c", "error": "nan"}
    told = summarise(rows)
    assert told["outside"] == [{"run": "best8, rate 0.006", "seeds": [1], "error": "nan"}]
    assert list(told["main"]["arms"]["best8"]["R@1"]["values"]) == ["0", "2"]


def test_a_run_outside_the_plan_is_told(rows):
    from evidence_results import outside_rows

    from evidence_runs import Run
    from evidence_summary import summarise

    run = Run("best8", 1, learning_rate=RATE, batch=7, sequences=("T2",))
    rows[run.key] = rows[Run("best8", 1, learning_rate=RATE).key] | {"run": run.to_json()}
    _, (told, seeds, recall, *_, error) = outside_rows(summarise(rows))
    assert told == "best8, rate 0.006, batch 7, sequences ('T2',)"
    assert (seeds, recall, error) == ("1", "0.520", "")


def test_another_rate_of_clip_is_a_base_of_its_own(result):
    found = {(told["arm"], told["than"]): told for told in result["contrasts"]}
    assert found["best8", "clip at rate 0.012"]["R@1"]["mean"] == pytest.approx(0.42)


def test_what_is_planned_and_missing_is_counted(result):
    from evidence_plan import ARMS

    assert "tune" not in result["not_run"]
    # Three seeds of three arms are there, and of plain CLIP the trials of seven more.
    assert result["not_run"]["main"] == 10 * len(ARMS) - 9 - 7
    assert result["not_run"]["null"] == 25 - 9  # two of its arms have no row


def test_the_mechanism_is_the_mean_over_seeds(result):
    assert result["mechanism"]["best8"]["history"]["own_mass"] == [0.1, 1.2]
    assert result["mechanism"]["oracle"] == {}


@pytest.mark.parametrize("are_there", [True, False], ids=["rows", "no rows"])
def test_every_table_and_picture_is_drawn(rows, are_there):
    from evidence_figures import FIGURES
    from evidence_results import TABLES

    from evidence_summary import summarise

    abnormal = {"best8": {"own_mass": 0.5, "same_mass": 0.6}} if are_there else {}
    result = summarise(rows if are_there else {})
    result |= {"abnormal": abnormal, "distinct": {"16": 0.8}}
    for name, rows_of in TABLES.items():
        header, *body = rows_of(result)
        assert all(len(row) == len(header) for row in body), name
    for draw, _ in FIGURES.values():
        assert draw(result).axes


def test_the_main_table_reads_as_it_should(result):
    from evidence_results import main_rows

    rows = {row[0]: row for row in main_rows(result)}
    assert rows["clip"][:4] == ["clip", "3", "0.300", "–"]
    assert rows["best8"][2] == "0.520"
    told = rows["best8"][3].replace("\N{NO-BREAK SPACE}", " ")
    assert told.startswith("+0.220 [+0.170, +0.270] d 11.0, p ")
    assert rows["chance"][2] == "0.010"
