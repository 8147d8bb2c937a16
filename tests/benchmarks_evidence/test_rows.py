import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest


@pytest.fixture
def runs(_benchmarks_are_importable):
    import evidence_runs

    return evidence_runs


@pytest.fixture
def rows(runs, tmp_path):
    from evidence_rows import RowFile

    return RowFile(tmp_path)


def test_rows_are_read_back_by_key(rows, runs):
    run = runs.Run("clip", 3)
    rows.append({"run": run.to_json(), "validation": 0.5})
    assert rows.read() == {run.key: {"run": run.to_json(), "validation": 0.5}}


def test_a_line_that_was_cut_off_is_not_a_row(rows, runs, tmp_path):
    first, second = runs.Run("clip", 0), runs.Run("clip", 1)
    rows.append({"run": asdict(first)})
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(json.dumps({"run": asdict(second)})[:40])
    assert list(rows.read()) == [first.key]
    rows.append({"run": asdict(second)})
    assert list(rows.read()) == [first.key, second.key]


def test_a_run_is_claimed_once(rows, runs):
    run = runs.Run("clip", 0)
    with rows.claim(run) as first, rows.claim(run) as second, rows.claim(replace(run, seed=1)) as o:
        assert (first, second, o) == (True, False, True)
    with rows.claim(run) as again:
        assert again
    rows.append({"run": run.to_json()})
    with rows.claim(run) as done:
        assert not done


def test_a_claim_ends_with_its_process(rows, runs, tmp_path):
    code = (
        "import os, pathlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "from evidence_rows import RowFile; from evidence_runs import Run\n"
        "RowFile(pathlib.Path(sys.argv[2])).claim(Run('clip', 0)).__enter__(); os._exit(1)"
    )
    import evidence_rows

    folder = evidence_rows.__file__.rpartition("/")[0]
    subprocess.run([sys.executable, "-c", code, folder, str(tmp_path)], check=False)
    with rows.claim(runs.Run("clip", 0)) as is_ours:
        assert is_ours


def test_every_factor_is_part_of_the_key(runs):
    middle = runs.Run("clip", 0)
    others = {"permuted": True, "learn_scale": False, "schedule": "rising", "arm": "best8"}
    others |= {"encoder": "resnet18", "sequences": ("T2",)}
    changed = {
        name: others[name] if name in others else value + 1
        for name, value in asdict(middle).items()
    }
    keys = {replace(middle, **{name: value}).key for name, value in changed.items()}
    assert len(keys | {middle.key}) == len(changed) + 1
