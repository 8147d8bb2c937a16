import gzip
import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Values of the authors' own functions; the layout is told in ``tests/data/README.md``."""
    with gzip.open(
        Path(__file__).parent / "data" / "golden.json.gz", "rt", encoding="utf-8"
    ) as file:
        return json.load(file)
