import json

import pytest

import selip_core.testing
from selip_core.cli import main
from selip_core.testing import BackendCheck, BackendReport

FINE = BackendCheck("chunked", "cpu", "float32", "random", "ok", seconds=0.25)
WRONG = BackendCheck("triton", "cuda:0", "float16", "converged", "wrong", "loss: error 1")


@pytest.fixture
def found(monkeypatch):
    def find(*checks):
        report = BackendReport({"torch": "2.0"}, checks, ("cpu: dense, since it is small",))
        monkeypatch.setattr(selip_core.testing, "check_backends", lambda seconds: report)

    return find


def test_all_right(found, capsys):
    found(FINE)
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "torch 2.0" in printed
    assert "chunked   cpu     float32  random" in printed
    assert "250.0 ms  ok" in printed
    assert "auto, cpu: dense, since it is small" in printed


def test_a_wrong_back_end_is_exit_code_1(found, capsys):
    found(FINE, WRONG)
    assert main(["doctor"]) == 1
    expected = "wrong: triton on cuda:0 in float16, converged features; loss: error 1"
    assert capsys.readouterr().out.splitlines()[-1] == expected


def test_json_in_place_of_the_table_or_beside_it(found, capsys, tmp_path):
    found(FINE, WRONG)
    assert main(["doctor", "--json", "-"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [check["status"] for check in printed["checks"]] == ["ok", "wrong"]
    target = tmp_path / "doctor.json"
    assert main(["doctor", "--json", str(target)]) == 1
    assert json.loads(target.read_text()) == printed
    assert "triton" in capsys.readouterr().out


def test_folder_that_cannot_be_written_is_told_before_the_work(found, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--json", str(tmp_path / "file" / "doctor.json")]) == 2
    assert "selip: error: " in capsys.readouterr().err


def test_really_runs(capsys):
    assert main(["doctor", "--seconds", "0"]) == 0
    assert "not checked" in capsys.readouterr().out
