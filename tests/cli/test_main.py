import argparse
import logging
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


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    with pytest.raises(TypeError):
        fail_with(monkeypatch, TypeError("bug"))


def test_ctrl_c_is_130_and_says_how_to_go_on(monkeypatch, capsys):
    assert fail_with(monkeypatch, KeyboardInterrupt("go on with --resume")) == 130
    assert capsys.readouterr().err == "selip: go on with --resume\n"
    assert fail_with(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "selip: interrupted\n"


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
