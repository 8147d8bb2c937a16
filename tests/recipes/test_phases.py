import json

import pytest

from selip_core.recipes.phases import Phases


@pytest.fixture
def path(tmp_path):
    return tmp_path / "phases.json"


def test_what_is_done_is_not_done_again(path):
    done = path.with_name("done")
    for _ in range(2):
        Phases(path, {"seed": 0}).run("touch", done, lambda: done.touch(exist_ok=False))
    assert list(json.loads(path.read_text())["seconds"]) == ["touch"]


def test_seconds_of_an_interrupted_phase_are_kept(path, monkeypatch):
    clock = iter([0.0, 3.0, 10.0, 14.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    done = path.with_name("done")

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Phases(path, {}).run("work", done, interrupt)
    again = Phases(path, {})
    again.run("work", done, done.touch)
    assert again.seconds == {"work": 7.0}


def test_other_settings_are_refused(path):
    Phases(path, {"seed": 0, "studies": 5})
    told = r"other settings \(seed was 0, is now 1\); give the earlier ones"
    with pytest.raises(ValueError, match=told):
        Phases(path, {"seed": 1, "studies": 5})


def test_a_setting_of_two_sections_is_told_once_and_after_those_of_none(path):
    Phases(path, {"a": {"epochs": 1}, "b": {"epochs": 1}, "studies": 40})
    told = r"\(studies was 40, is now 50; epochs was 1, is now 2\)"
    with pytest.raises(ValueError, match=told):
        Phases(path, {"a": {"epochs": 2}, "b": {"epochs": 2}, "studies": 50})
