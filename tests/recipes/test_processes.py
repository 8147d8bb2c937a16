import pytest

from selip_core.recipes.processes import _LAUNCHERS, require_processes


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for variable in _LAUNCHERS:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("variable", _LAUNCHERS)
def test_processes_that_do_not_take_part_are_refused(monkeypatch, variable):
    monkeypatch.setenv(variable, "2")
    expected = rf"2 processes were launched \({variable}=2, .*1 takes part .*start the command once"
    with pytest.raises(ValueError, match=expected):
        require_processes(1)
    require_processes(2)


@pytest.mark.parametrize("text", ["", " ", "1"])
def test_one_process_is_fine(monkeypatch, text):
    monkeypatch.setenv("WORLD_SIZE", text)
    require_processes(1)


@pytest.mark.parametrize("text", ["-1", "two", "1.0"])
def test_what_is_no_number_is_named(monkeypatch, text):
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(ValueError, match="WORLD_SIZE must be a number of processes"):
        require_processes(1)
