"""Output takes every character, whatever the terminal, and does not fail where nothing reads it."""

import os
import subprocess
import sys

import pytest

SPEAK = """
import sys
from tqdm import tqdm
from selip_core.cli import main, retrieve

def run(arguments):
    for _ in tqdm(range(2), "额叶"):
        print("额叶 fläche \\udcff", arguments.manifest)
    return 0

retrieve.run = run
sys.exit(main(["retrieve", "--manifest", sys.argv[1], "--run", "r"]))
"""
ESCAPED = r"\u989d\u53f6 fl\xe4che \udcff"


def run(command, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, env=environment)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PYTHONIOENCODING": "ascii"}, ESCAPED),
        ({"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, ESCAPED),
        ({"PYTHONIOENCODING": "latin-1"}, r"\u989d\u53f6 fl\xe4che \udcff".replace(r"\xe4", "ä")),
        ({"PYTHONIOENCODING": "cp936"}, r"额叶 fl\xe4che \udcff"),
        ({"PYTHONIOENCODING": "utf-8"}, r"额叶 fläche \udcff"),
    ],
)
def test_a_character_that_the_terminal_lacks_is_escaped(tmp_path, environment, expected):
    program = tmp_path / "program.py"
    program.write_text(SPEAK, encoding="utf-8")
    done = run([os.fsencode(sys.executable), os.fsencode(program), b"run-\xff"], **environment)
    assert done.returncode == 0, done.stderr
    encoding = environment.get("PYTHONIOENCODING", "ascii")
    first = done.stdout.decode(encoding).splitlines()[0]
    assert first == rf"{expected} run-\udcff"
    assert b"2/2" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed(tmp_path, closed):
    program = tmp_path / "program.py"
    program.write_text(
        SPEAK.replace("return 0", "file = open('x', 'w'); return file.fileno()"), "utf-8"
    )
    command = f"cd {tmp_path}; {sys.executable} {program} r {closed}"
    done = run(["bash", "-c", command])
    assert done.returncode > 2, done.stderr  # the file did not get the number of a stream


@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_a_pipe_that_is_closed(tmp_path, unbuffered):
    program = tmp_path / "program.py"
    program.write_text(SPEAK.replace("range(2)", "range(9999)"), encoding="utf-8")
    for arguments in ([str(program), "m"], ["-m", "selip_core", "--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        environment = {**os.environ, "PYTHONUNBUFFERED": "", **unbuffered}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment)
        os.close(writer)
        # argparse ignores a failure of its own writing, which comes late if output is buffered.
        assert done.returncode == (0 if unbuffered and "--help" in arguments else 141)
        assert not {b"Error", b"Broken"} & set(done.stderr.split())
