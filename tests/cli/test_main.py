import argparse
import logging
import re
import signal
import subprocess
import sys

import pytest

from selip_core import __version__
from selip_core.cli import main, pretrain, retrieve
from selip_core.cli.main import SUBCOMMANDS, build_parser

HEAVY = ("torch", "monai", "transformers", "pydantic", "accelerate", "nibabel")


def subcommands():
    (action,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return action.choices


def test_every_subcommand_is_there():
    assert list(subcommands()) == [name.replace("_", "-") for name in SUBCOMMANDS]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_can_be_printed(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([name.replace("_", "-"), "--help"])
    assert stopped.value.code == 0
    assert "usage: selip" in capsys.readouterr().out


def test_help_is_light():
    program = (
        "import sys; from selip_core.cli.main import build_parser; build_parser().format_help(); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_package_runs_as_a_program():
    command = [sys.executable, "-m", "selip_core", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, f"selip {__version__}")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["pretrain"]])
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: selip" in capsys.readouterr().err


def fail_with(monkeypatch, error):
    def run(arguments):
        raise error

    monkeypatch.setattr(retrieve, "run", run)
    return main(["retrieve", "--manifest", "m.jsonl", "--run", "r"])


@pytest.mark.parametrize(
    "error", [ValueError("what to do"), OSError("what to do"), ImportError("what to do")]
)
def test_errors_are_one_message(monkeypatch, capsys, error):
    assert fail_with(monkeypatch, error) == 2
    captured = capsys.readouterr()
    assert captured.err == "selip: error: what to do\n"
    assert captured.out == ""


def test_a_mistake_of_ours_is_70_and_shows_no_value(monkeypatch, capsys):
    assert fail_with(monkeypatch, KeyError("jane's report")) == 70
    message = capsys.readouterr().err
    place = r"selip_core/cli/main\.py:\d+"  # the innermost code of the package: the test raised it
    assert re.fullmatch(rf"selip: error: an unexpected KeyError at {place}, .*\n", message)
    assert "selip -v COMMAND" in message
    assert "jane" not in message


def test_a_mistake_in_building_the_parser_is_70(monkeypatch, capsys):
    monkeypatch.setattr(retrieve, "add_parser", None)
    assert main(["doctor"]) == 70
    assert "an unexpected TypeError at selip_core/cli/main.py" in capsys.readouterr().err


def test_ctrl_c_is_130_and_says_how_to_go_on(monkeypatch, capsys):
    assert fail_with(monkeypatch, KeyboardInterrupt("go on with --resume")) == 130
    assert capsys.readouterr().err == "selip: go on with --resume\n"
    assert fail_with(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "selip: interrupted\n"


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_end_any_subcommand(monkeypatch, capsys, name, code):
    def run(arguments):
        signal.raise_signal(signal.Signals[name])

    before = signal.getsignal(signal.Signals[name])
    monkeypatch.setattr(retrieve, "run", run)
    assert main(["retrieve", "--manifest", "m.jsonl", "--run", "r"]) == code
    assert capsys.readouterr().err == "selip: interrupted\n"
    assert signal.getsignal(signal.Signals[name]) is before


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_second_signal_does_not_change_how_the_process_ends(name, code):
    program = (
        "import os, signal, sys\n"
        "from selip_core.cli import main, retrieve\n"
        f"send = lambda arguments=None: os.kill(os.getpid(), signal.{name})\n"
        "retrieve.run = send\n"
        "sys.argv = ['selip', 'retrieve', '--manifest', 'm.jsonl', '--run', 'r']\n"
        "code = main()\n"
        "send()\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "selip: interrupted\n")


def test_an_interrupt_that_became_another_error_is_still_one(monkeypatch, capsys):
    def run(arguments):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as interrupt:
            raise ValueError("the file is damaged") from interrupt

    monkeypatch.setattr(retrieve, "run", run)
    assert main(["retrieve", "--manifest", "m.jsonl", "--run", "r"]) == 143
    assert capsys.readouterr().err == "selip: interrupted\n"


def shell(command, **options):
    return subprocess.run(
        ["bash", "-c", command.replace("selip", f"{sys.executable} -m selip_core")],
        capture_output=True,
        text=True,
        **options,
    )


def test_output_that_is_cut_off_is_no_error():
    done = shell("selip --help | head -n 1; echo ${PIPESTATUS[0]}")
    assert done.stdout.splitlines()[-1] in ("0", "141")
    assert done.stderr == ""


def test_output_to_a_full_disk(monkeypatch):
    program = (
        "import sys; from selip_core.cli import main, retrieve\n"
        "retrieve.run = lambda arguments: print('x') or 0\n"
        "sys.exit(main(['retrieve', '--manifest', 'm', '--run', 'r']))"
    )
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == 2
        line = "selip: error: cannot write: No space left on device; make room and run it again\n"
        assert done.stderr == line
        failing = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=full)
        assert failing.returncode == 2


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_do_no_harm(closed, tmp_path):
    program = (
        "import sys; from selip_core.cli import main, retrieve\n"
        "def run(arguments):\n"
        "    with open('result', 'w') as file:\n"
        "        assert file.fileno() > 2; print('x'); raise ValueError\n"
        "retrieve.run = run; sys.exit(main(['retrieve', '--manifest', 'm', '--run', 'r']))"
    )
    (tmp_path / "program.py").write_text(program)
    command = f"{sys.executable} program.py {closed}"
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path).returncode == 2
    assert (tmp_path / "result").read_text() == ""


def test_verbose_logs_where_an_error_came_from(monkeypatch, caplog):
    monkeypatch.setattr(pretrain, "run", lambda arguments: int("x"))
    with caplog.at_level(logging.INFO):
        assert main(["-v", "pretrain", "--manifest", "m", "--out", "o"]) == 2
    assert "Traceback" in caplog.text


def test_a_missing_manifest_is_named(tmp_path, capsys):
    manifest = tmp_path / "nowhere.jsonl"
    out = tmp_path / "run"
    assert main(["pretrain", "--manifest", str(manifest), "--out", str(out)]) == 2
    assert capsys.readouterr().err == (
        f"selip: error: {manifest}: No such file or directory; is the path right?\n"
    )
    assert not out.exists()


def test_a_wrong_setting_is_named(tmp_path, capsys):
    config = tmp_path / "settings.toml"
    config.write_text("epoch = 3\n")
    arguments = ["--manifest", "m.jsonl", "--config", str(config), "--out", str(tmp_path / "run")]
    assert main(["pretrain", *arguments]) == 2
    assert f"{config} epoch: unknown setting; did you mean 'epochs'?" in capsys.readouterr().err
