"""The job script of the page on clusters, run with stand-ins for Slurm and for the training."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
# Ends with the code in the file `code` after SIGTERM, as the training does with 143.
SELIP = """#!/bin/bash
echo "$@" >> arguments
trap 'sleep 0.3; exit "$(cat code)"' TERM
touch started
while true; do sleep 0.05; done
"""


@pytest.fixture
def job(tmp_path):
    """Start the script; the commands that it calls write down their arguments."""
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "job.sh").write_text(script)
    (tmp_path / "code").write_text("143")
    commands = {"selip": SELIP, "scontrol": '#!/bin/bash\necho "$@" >> requeued\n'}
    (tmp_path / "bin").mkdir()
    for name, text in commands.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def start():
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "SLURM_JOB_ID": "17"}
        process = subprocess.Popen(["bash", "job.sh"], cwd=tmp_path, env=environment)
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        return process

    return start


def test_the_script_is_valid(job, tmp_path):
    subprocess.run(["bash", "-n", tmp_path / "job.sh"], check=True)


@pytest.mark.parametrize(("code", "requeued"), [(143, True), (2, False), (0, False)])
def test_near_the_limit_a_saved_run_is_queued_again(job, tmp_path, code, requeued):
    (tmp_path / "code").write_text(str(code))
    process = job()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == code
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 17\n"


def test_a_cancelled_job_is_not_queued_again(job, tmp_path):
    process = job()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert not (tmp_path / "requeued").exists()


def test_a_run_that_was_started_is_resumed(job, tmp_path):
    job().terminate()
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "config.json").touch()
    (tmp_path / "started").unlink()
    job().terminate()
    first, second = (tmp_path / "arguments").read_text().splitlines()
    assert "--resume" not in first
    assert second == first + " --resume"
