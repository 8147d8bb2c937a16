"""A batch spread over one to four processes gives what one process gives."""

import importlib.util
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
from selip_core.losses.ranks import Ranks
from selip_core.similarity.operators import LowRank

PROGRAM = Path(__file__).with_name("ranks_program.py")
PROCESSES = 4
SIZES = {
    "one": [7],
    "two equal": [4, 4],
    "two unequal": [5, 2],
    "three unequal": [1, 6, 3],
    "one empty": [4, 0, 3],
    "four": [3, 1, 0, 4],
}
KINDS: dict[str, dict[str, Any]] = {
    "clip": {"soft": False},
    "soft": {"soft": True},
    "smoothed": {"soft": True, "label_smoothing": 0.2},
    "masked": {"soft": True, "masked": True},
    "masked factors": {"factored": True, "masked": True, "label_smoothing": 0.1},
}
SPOILED = {
    "rows": "must both be",
    "nan": "image_features must be finite",
    "target rows": "target must have shape",
    "target columns": "target must have shape",
    "negative": "not negative",
}

# What one rank does otherwise, and what the message of every rank names.
MIXED = {
    "type": "features_dtype=torch.float32 on rank 0 and another value on rank 1",
    "width": "features_width=5 on rank 0 and another value on rank 1",
    "average": "average=True on rank 0 and another value on rank 1",
    "label_smoothing": "label_smoothing=0.0 on rank 0 and another value on rank 1",
    "align_weight": "align_weight=1.0 on rank 0",
    "similarity_weight": "similarity_weight=1.0 on rank 0",
    "frozen": "text_features_require_grad=True on rank 0",
    "frozen scale": "logit_scale_requires_grad=True on rank 0",
    "no target": "target_is_given=True on rank 0",
    "no tiles": "target_members=('select', 'tile', 'entropy') on rank 0",
    "no statistics": "return_stats=True on rank 0",
    "no bias": "logit_bias_is_given=True on rank 0",
    "bias": "logit_bias must be equal on all ranks of the group, got [-2.0, -2.00",
    "scale": "logit_scale must be equal on all ranks of the group, got [6.0, 6.0",
    "scale without a number": "logit_scale must be equal on all ranks of the group, got [6.0, nan,",
}

# Positions of images, texts and scale.
FROZEN = [(0,), (1,), (0, 1), (1, 2)]

Case = dict[str, Any]
Shares = Callable[[str], list[dict[str, Any]]]


def make_case(
    sizes: list[int],
    dtype: str = "float64",
    average: bool = True,
    soft: bool = False,
    factored: bool = False,
    masked: bool = False,
    label_smoothing: float = 0.0,
    statistics: bool = False,
    model: bool = False,
    frozen: tuple[int, ...] = (),
) -> Case:
    rows = sum(sizes)
    generator = torch.Generator().manual_seed(rows)
    features = normalize(torch.randn(2, rows, 5, generator=generator, dtype=torch.float64), dim=2)
    target = torch.rand(rows, rows, generator=generator, dtype=torch.float64)
    mask = torch.ones(rows, dtype=torch.bool)
    # A first rank of one pair has none left; ranks that miss none have no mask.
    mask[: min(sizes[0], 2)] = False
    mask[rows // 2 : rows // 2 + 1] = False
    return {
        "sizes": sizes,
        "images": features[0].tolist(),
        "texts": features[1].tolist(),
        "scale": 6.0,
        "target": target.tolist() if soft else None,
        "factor": target[:, :2].tolist() if factored else None,
        "mask": mask.tolist() if masked else None,
        "ranks_without_mask": [
            rank for rank in range(1, len(sizes)) if masked_none(sizes, rank, mask)
        ],
        "dtype": dtype,
        "settings": {"average": average, "label_smoothing": label_smoothing},
        "statistics": statistics,
        "model": model,
        "frozen": frozen,
    }


def masked_none(sizes: list[int], rank: int, mask: Tensor) -> bool:
    """Whether a rank may leave its mask out."""
    return bool(mask.split(sizes)[rank].all())


def spoiled_case(spoiled: str) -> Case:
    case = make_case([2, 3, 1], soft=True)
    settings = {**case["settings"], "check_finite": True}
    return {**case, "settings": settings, "spoiled": spoiled, "spoiled_rank": 1}


def make_cases() -> dict[str, Case]:
    cases = {
        f"{world}, {kind}, {dtype}, {average}": make_case(
            sizes, dtype, average == "averaged", **options
        )
        for world, sizes in SIZES.items()
        for kind, options in KINDS.items()
        for dtype in ("float32", "float64")
        for average in ("averaged", "added")
    }
    for world, sizes in SIZES.items():
        for kind, options in KINDS.items():
            cases[f"{world}, {kind}, model"] = make_case(sizes, model=True, **options)
            cases[f"{world}, {kind}, statistics"] = make_case(sizes, statistics=True, **options)
    empty_row = make_case([2, 3], soft=True)
    empty_row["target"][4] = [0.0] * 5
    all_masked = make_case([2, 3], masked=True)
    all_masked |= {"mask": [False] * 5, "ranks_without_mask": []}
    clamped = make_case([2, 3], soft=True)
    clamped["settings"] = {"clamp_eps": 1e-3}
    mixed = make_case([2, 3, 1], dtype="float32", soft=True, statistics=True)
    for frozen in FROZEN:
        cases[f"frozen {frozen}"] = make_case([3, 0, 2], soft=True, frozen=frozen)
    return {
        **cases,
        **{f"spoiled {spoiled}": spoiled_case(spoiled) for spoiled in SPOILED},
        "empty row": empty_row,
        "all masked": all_masked,
        "clamped": clamped,
        **{
            f"mixed {kind}": {**mixed, "spoiled": kind, "spoiled_rank": 1}
            for kind in (*MIXED, "rounded scale")
        },
        "nothing": make_case([0, 0]),
    }


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Shares:
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "cases.json").write_text(json.dumps(make_cases()))
    processes = [
        subprocess.Popen([sys.executable, PROGRAM, folder, str(rank)]) for rank in range(PROCESSES)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            process.kill()
    written = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(PROCESSES)]
    return lambda name: [rank[name] for rank in written if name in rank]


def expect(actual: Tensor, expected: Tensor, dtype: str) -> None:
    tolerance = (1e-6 if dtype == "float32" else 1e-13) * max(float(expected.abs().max()), 1)
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def whole_batch(case: Case) -> tuple[list[Tensor], dict[str, Any]]:
    """Return the features and scale of one process, and the options of its call."""
    features = [torch.tensor(case[name], dtype=torch.float64) for name in ("images", "texts")]
    options: dict[str, Any] = {"label_smoothing": case["settings"]["label_smoothing"]}
    if case["target"] is not None:
        options["target"] = torch.tensor(case["target"], dtype=torch.float64)
    if case["factor"] is not None:
        factor = torch.tensor(case["factor"], dtype=torch.float64)
        options["target"] = LowRank(factor, factor)
    if case["mask"] is not None:
        options["mask"] = torch.tensor(case["mask"])
    return [*features, torch.tensor(case["scale"], dtype=torch.float64)], options


@pytest.mark.parametrize("average", ["averaged", "added"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", SIZES)
def test_is_the_single_process(
    shares: Shares, results: Callable[..., Any], world: str, kind: str, dtype: str, average: str
) -> None:
    features, options = whole_batch(make_case(SIZES[world], **KINDS[kind]))
    loss, images, texts, scale_gradient = results(
        similarity_clip_loss, features, backend="dense", **options
    )
    ranks = shares(f"{world}, {kind}, {dtype}, {average}")
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


@pytest.mark.parametrize("frozen", FROZEN)
def test_with_frozen_towers(
    shares: Shares, results: Callable[..., Any], frozen: tuple[int, ...]
) -> None:
    features, options = whole_batch(make_case([3, 0, 2], soft=True))
    _, *expected = results(similarity_clip_loss, features, backend="dense", **options)
    ranks = shares(f"frozen {frozen}")
    left = [gradient for index, gradient in enumerate(expected) if index not in frozen]
    for index, gradient in enumerate(left):
        parts = [torch.tensor(rank["gradients"][index], dtype=torch.float64) for rank in ranks]
        if gradient.ndim:
            joined = torch.cat([part.reshape(-1, 5) for part in parts])
        else:
            joined = torch.stack(parts).sum()
        expect(joined / len(ranks), gradient, "float64")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", SIZES)
def test_statistics_are_those_of_the_single_process(shares: Shares, world: str, kind: str) -> None:
    features, options = whole_batch(make_case(SIZES[world], **KINDS[kind]))
    result = similarity_clip_loss(*features, logit_bias=-2.0, return_stats=True, **options)
    expected = {name: value.item() for name, value in result.statistics.as_dict().items()}
    for rank in shares(f"{world}, {kind}, statistics"):
        assert rank["statistics"] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", SIZES)
def test_within_distributed_data_parallel(shares: Shares, world: str, kind: str) -> None:
    (images, texts, _), options = whole_batch(make_case(SIZES[world], **KINDS[kind]))
    specification = importlib.util.spec_from_file_location("ranks_program", PROGRAM)
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)
    model = program.Towers(torch.float64)
    *features, bias = model(images, texts)
    similarity_clip_loss(*features, logit_bias=bias, **options).backward()
    for rank in shares(f"{world}, {kind}, model"):
        for name, parameter in model.named_parameters():
            gradient = torch.tensor(rank["gradients"][f"module.{name}"], dtype=torch.float64)
            expect(gradient, parameter.grad, "float64")


@pytest.mark.parametrize("spoiled", SPOILED)
def test_wrong_input_of_one_rank_fails_on_all(shares: Shares, spoiled: str) -> None:
    messages = [rank["error"] for rank in shares(f"spoiled {spoiled}")]
    assert SPOILED[spoiled] in messages[1]
    for other in (messages[0], messages[2]):
        assert other == "rank 1 failed its check of the batch; its own error says why"


@pytest.mark.parametrize("mixed", MIXED)
def test_ranks_that_call_differently_name_what_differs(shares: Shares, mixed: str) -> None:
    messages = [rank["error"] for rank in shares(f"mixed {mixed}")]
    assert len(messages) == 3
    assert MIXED[mixed] in messages[0]
    name = MIXED[mixed].partition("=")[0].partition(" ")[0]
    for message in messages:
        assert "all ranks of the group" in message
        assert name in message


def test_a_scale_may_differ_by_the_rounding_of_another_processor(shares: Shares) -> None:
    assert all("loss" in rank for rank in shares("mixed rounded scale"))


def test_every_rank_has_the_same_gradient_of_the_scale(shares: Shares) -> None:
    for average in ("averaged", "added"):
        ranks = shares(f"four, soft, float32, {average}")
        assert len({rank["gradients"][2] for rank in ranks}) == 1


def test_what_one_rank_cannot_normalise_fails_on_all(shares: Shares) -> None:
    messages = [rank["error"] for rank in shares("empty row")]
    assert len(messages) == 2
    assert all("every row of the target must have a finite sum" in text for text in messages)


def test_no_rows_on_any_rank(shares: Shares) -> None:
    assert all("at least one pair, got 0 rows" in rank["error"] for rank in shares("nothing"))


def test_no_pair_left_on_any_rank(shares: Shares) -> None:
    messages = [rank["error"] for rank in shares("all masked")]
    assert all("mask must be True for at least one pair" in text for text in messages)


def test_ranks_of_equal_size_send_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    def keep(received: Tensor, own: Tensor, group: Any) -> None:
        sent.append(own.data_ptr())

    monkeypatch.setattr("selip_core.losses.ranks._exchange", lambda *names: keep)
    group: Any = object()
    features, gradient = torch.ones(3, 2), torch.ones(6, 2)
    together = Ranks(group, sizes=(3, 3), rank=1)
    together.gather(features)
    together.scatter_sum(gradient)
    assert sent == [features.data_ptr(), gradient.data_ptr()]


def test_clamps_are_refused(shares: Shares) -> None:
    messages = [rank["error"] for rank in shares("clamped")]
    assert all("clamp_eps works in one process only" in text for text in messages)


def test_a_rank_that_dies_is_an_error_within_the_timeout(shares: Shares) -> None:
    survivors = shares("death")
    assert len(survivors) == PROCESSES - 1
    for rank in survivors:
        assert rank["error"] is not None
        assert rank["seconds"] < 15
