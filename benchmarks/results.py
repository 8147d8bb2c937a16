"""Results as JSON: what was measured, on what machine, with which versions, when."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selip_core.files import atomic_path
from selip_core.recipes.environment import describe_environment

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, result: Mapping[str, Any]) -> Path:
    """Write ``results/<name>.json`` with the date and the environment; return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "environment": describe_environment(),
        **result,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path
