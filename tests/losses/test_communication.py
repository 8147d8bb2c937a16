"""What the documentation says of bytes and operations is what the benchmark counted."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "loss_communication.json"


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("world", [2, 4])
def test_formulas_of_the_page(result: dict[str, Any], world: int, dtype: str) -> None:
    measured = result["worlds"][str(world)][dtype]
    ours, open_clip = measured["selip_core"], measured["open_clip, local_loss, gather_with_grad"]
    rows, element = result["rows_per_rank"], getattr(torch, dtype).itemsize
    others, features = world - 1, (world - 1) * rows * result["width"]
    assert open_clip["bytes_sent"] == 4 * element * features
    scalars = 160 * others + 8 * others // world
    assert ours["bytes_sent"] == (element + 4) * features + 16 * others * rows + scalars
    assert (ours["products"], open_clip["products"]) == (4, 6)
