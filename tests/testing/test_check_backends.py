"""The check finds what is wrong, and nothing where nothing is."""

import json
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

import selip_core.testing
from selip_core.losses.backends import BACKENDS
from selip_core.testing import BackendReport, check_backends

MODULE = sys.modules["selip_core.testing.check_backends"]
TYPES = ("float32", "bfloat16", "float16", "float64")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows, on the CPU alone."""
    monkeypatch.setattr(MODULE, "ROWS", dict.fromkeys(MODULE.DTYPES, 40))
    monkeypatch.setattr(MODULE, "_devices", lambda: [torch.device("cpu")])


def break_chunked(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    broken = replace(BACKENDS["chunked"], soft_cross_entropy=function)
    monkeypatch.setitem(BACKENDS, "chunked", broken)


def test_public_names() -> None:
    assert selip_core.testing.__all__ == sorted(selip_core.testing.__all__)


@pytest.fixture(scope="module")
def report() -> BackendReport:
    """Of this machine, as users get it, but without a limit of time."""
    return check_backends(seconds=600)


def test_all_is_right_here(report: BackendReport) -> None:
    assert report.wrong == ()
    assert {check.status for check in report.checks} == {"ok"}
    on_cpu = {
        (check.backend, check.dtype, check.features)
        for check in report.checks
        if check.device == "cpu"
    }
    assert on_cpu == {
        (backend, dtype, features)
        for backend in ("chunked", "dense")
        for dtype in TYPES
        for features in ("random", "converged")
        if (dtype, features) != ("float64", "converged")
    }


def test_tells_what_auto_takes_and_why(report: BackendReport) -> None:
    choices = [choice for choice in report.choices if choice.startswith("cpu")]
    assert "up to 512 rows of float32, bfloat16, float16, float64: dense, since" in choices[0]
    assert "from 513 rows of float32" in choices[1]
    assert "chunked, since triton cannot be used" in choices[1]


def test_tables_and_json_have_everything(report: BackendReport) -> None:
    table = report.table()
    for check in report.checks:
        assert f"{check.backend:<9}" in table
    assert f"torch {torch.__version__}" in table
    assert table.endswith("every back end that was checked is as exact as it has to be")
    values = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert values["wrong"] == 0
    assert len(values["checks"]) == len(report.checks)
    first = values["checks"][0]
    assert first["errors"]["loss"]["error"] <= first["errors"]["loss"]["allowed"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_finds_a_back_end_that_is_wrong(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = BACKENDS["chunked"].soft_cross_entropy
    break_chunked(monkeypatch, lambda *arguments: factor * right(*arguments))
    report = check_backends(seconds=600)
    assert {(check.backend, check.status) for check in report.checks} == {
        ("chunked", "wrong"),
        ("dense", "ok"),
    }
    assert "wrong: chunked on cpu in float32, random features; loss: error" in report.table()
    json.dumps(report.as_dict(), allow_nan=False)


@pytest.mark.usefixtures("quick")
def test_a_back_end_that_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_kernel(*arguments: Any) -> None:
        raise RuntimeError("no compiler\nand much more")

    break_chunked(monkeypatch, compile_kernel)
    report = check_backends(seconds=600)
    assert {check.backend for check in report.wrong} == {"chunked"}
    assert report.wrong[0].reason == "RuntimeError: no compiler"
    assert "failed: chunked on cpu in float32, random features; RuntimeError" in report.table()


@pytest.mark.usefixtures("quick")
def test_what_there_was_no_time_for_is_told() -> None:
    report = check_backends(seconds=0)
    assert {check.status for check in report.checks} == {"not checked"}
    assert "not checked" in report.table()
    assert "no time for 14 of 14 checks: allow more seconds" in report.table()
    assert report.wrong == ()
