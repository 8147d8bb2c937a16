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
    with pytest.raises(ValueError, match="started with another seed; give the earlier value"):
        Phases(path, {"seed": 1, "studies": 5})
