"""Without a GPU, ``test_triton.py`` runs in Triton's interpreter, in a process of its own."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch


@pytest.mark.skipif(torch.cuda.is_available(), reason="test_triton.py runs compiled")
@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="test_triton.py runs interpreted")
@pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
def test_kernels_in_the_interpreter() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    run = subprocess.run(
        [*command, "--no-cov", "tests/losses/test_triton.py"],
        cwd=root,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
