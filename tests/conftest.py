import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A loaded machine is not a failure: speed is measured in benchmarks, never in tests.
settings.register_profile("selip_core", deadline=None)
settings.load_profile("selip_core")


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Values of the authors' own functions; the layout is told in ``tests/data/README.md``."""
    with gzip.open(
        Path(__file__).parent / "data" / "golden.json.gz", "rt", encoding="utf-8"
    ) as file:
        return json.load(file)
