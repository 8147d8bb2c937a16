"""A batch spread over one, two and three processes gives what one process gives."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from selip_core.losses import similarity_clip_loss

PROGRAM = Path(__file__).with_name("ranks_program.py")
SIZES = {
    "one": [7],
    "two equal": [4, 4],
    "two unequal": [5, 2],
    "three unequal": [1, 6, 3],
    "one empty": [4, 0, 3],
}
TARGETS = ("clip", "soft")


def make_case(sizes: list[int], soft: bool, dtype: str, average: bool) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(sum(sizes))
    rows = sum(sizes)
    features = normalize(torch.randn(2, rows, 5, generator=generator, dtype=torch.float64), dim=2)
    target = torch.rand(rows, rows, generator=generator, dtype=torch.float64)
    return {
        "sizes": sizes,
        "images": features[0].tolist(),
        "texts": features[1].tolist(),
        "scale": 6.0,
        "target": target.tolist() if soft else None,
        "dtype": dtype,
        "average": average,
    }


def make_cases() -> dict[str, dict[str, Any]]:
    cases = {
        f"{world}, {target}, {dtype}, {average}": make_case(
            sizes, target == "soft", dtype, average == "averaged"
        )
        for world, sizes in SIZES.items()
        for target in TARGETS
        for dtype in ("float32", "float64")
        for average in ("averaged", "added")
    }
    empty_row = make_case([2, 3], True, "float64", True)
    empty_row["target"][4] = [0.0] * 5
    nothing = make_case([0, 0], False, "float64", True)
    return {**cases, "empty row": empty_row, "nothing": nothing}


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "cases.json").write_text(json.dumps(make_cases()))
    processes = [
        subprocess.Popen([sys.executable, PROGRAM, folder, str(rank)]) for rank in range(3)
    ]
    try:
        assert [process.wait(timeout=90) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
    written = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(3)]
    return lambda name: [rank[name] for rank in written if name in rank]


def expect(actual: Tensor, expected: Tensor, dtype: str) -> None:
    tolerance = (1e-6 if dtype == "float32" else 1e-13) * max(float(expected.abs().max()), 1)
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("average", ["averaged", "added"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("world", SIZES)
def test_is_the_single_process(
    shares: Callable[[str], list[dict[str, Any]]],
    results: Callable[..., Any],
    world: str,
    target: str,
    dtype: str,
    average: str,
) -> None:
    case = make_case(SIZES[world], target == "soft", dtype, True)
    features = [torch.tensor(case[name], dtype=torch.float64) for name in ("images", "texts")]
    options = {}
    if case["target"] is not None:
        options["target"] = torch.tensor(case["target"], dtype=torch.float64)
    scale = torch.tensor(6.0, dtype=torch.float64)
    loss, images, texts, scale_gradient = results(
        similarity_clip_loss, (*features, scale), backend="dense", **options
    )
    ranks = shares(f"{world}, {target}, {dtype}, {average}")
    assert len(ranks) == len(SIZES[world])
    # Averaging the averaged, and adding the added, both give the whole.
    factor = len(ranks) if average == "averaged" else 1
    total = torch.tensor([rank["loss"] for rank in ranks], dtype=torch.float64).sum() / factor
    parts = [
        [torch.tensor(rank["gradients"][index], dtype=torch.float64) for rank in ranks]
        for index in range(3)
    ]
    expect(total, loss, dtype)
    expect(torch.cat([part.reshape(-1, 5) for part in parts[0]]) / factor, images, dtype)
    expect(torch.cat([part.reshape(-1, 5) for part in parts[1]]) / factor, texts, dtype)
    expect(torch.stack(parts[2]).sum() / factor, scale_gradient, dtype)


def test_what_one_rank_cannot_normalise_fails_on_all(
    shares: Callable[[str], list[dict[str, Any]]],
) -> None:
    messages = [rank["error"] for rank in shares("empty row")]
    assert len(messages) == 2
    assert all("every row of the target must have a finite sum" in text for text in messages)


def test_no_rows_on_any_rank(shares: Callable[[str], list[dict[str, Any]]]) -> None:
    assert all("at least one pair" in rank["error"] for rank in shares("nothing"))
