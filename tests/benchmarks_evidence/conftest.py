import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (str(ROOT / "benchmarks"), str(ROOT / "docs" / "_extensions"))


@pytest.fixture(scope="session", autouse=True)
def _benchmarks_are_importable():
    sys.path[:0] = FOLDERS
    yield
    for folder in FOLDERS:
        sys.path.remove(folder)
