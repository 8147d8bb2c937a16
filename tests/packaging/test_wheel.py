"""The package as a user gets it: built, checked, and installed into an environment of its own."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def run(*command, cwd=None):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    finished = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=environment
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def new_environment(folder):
    run(sys.executable, "-m", "venv", folder)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions):
    (wheel,) = distributions.glob("*.whl")
    return wheel


def test_metadata_is_right(distributions):
    files = sorted(distributions.iterdir())
    assert len(files) == 2
    run(sys.executable, "-m", "twine", "check", "--strict", *files)


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top.partition("-")[0] for top in tops} == {"selip_core"}
    assert "selip_core/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    installed = {name for name in names if name.startswith("selip_core/") and name.endswith(".py")}
    source = {str(p.relative_to(ROOT / "src")) for p in (ROOT / "src").rglob("*.py")}
    assert installed == source


def test_loss_works_with_torch_and_jaxtyping_alone(wheel, tmp_path):
    python = new_environment(tmp_path / "environment")
    run(python, "-m", "pip", "install", "--quiet", "torch", "jaxtyping")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    example = """
import torch
from selip_core import SimilarityCLIPLoss
image, text = torch.eye(4, 8).requires_grad_(), torch.eye(4, 8)
loss = SimilarityCLIPLoss()(image, text, torch.tensor(10.0), target=torch.ones(4, 4))
loss.backward()
assert loss.isfinite() and image.grad.abs().sum() > 0
print("worked")
"""
    assert "worked" in run(python, "-c", example, cwd=tmp_path)


def test_first_example_of_the_readme_runs_with_the_wheel(wheel, tmp_path):
    python = new_environment(tmp_path / "environment")
    run(python, "-m", "pip", "install", "--quiet", wheel)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1)
    run(python, "-c", example, cwd=tmp_path)
    assert "selip" in run(python, "-m", "selip_core", "--version", cwd=tmp_path)
