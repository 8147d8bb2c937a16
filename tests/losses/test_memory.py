"""The chunked back end keeps no table of all pairs, and makes none."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selip_core.losses import bidirectional_logsumexp, chunked, similarity_clip_loss
from selip_core.losses import target as target_module
from selip_core.losses.target import TwoWayTarget
from selip_core.similarity.operators import Dense, ExpCosine, Factored, LowRank, ScaledSum, Sparse

ROWS, WIDTH = 96, 8


class LargestTensor(TorchDispatchMode):
    """Remembers the elements of the largest tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


def saved_bytes(loss_fn: Callable[..., Any], *leaves: Tensor, **options: Any) -> int:
    """Count what the graph keeps alive; what it names twice counts once."""
    saved = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_fn(*leaves, **options)
    return sum(saved.values())


@pytest.fixture
def target() -> LowRank:
    factor = torch.rand(ROWS, 2, dtype=torch.float64)
    return LowRank(factor, factor)


@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
def test_loss_saves_features_and_vectors_only(
    batch: Callable[..., Any], target: LowRank, clamp_eps: float | None
) -> None:
    options = {"target": target, "clamp_eps": clamp_eps}
    leaves = batch(ROWS, WIDTH)
    few = saved_bytes(similarity_clip_loss, *leaves, backend="chunked", **options)
    many = saved_bytes(similarity_clip_loss, *leaves, backend="dense", **options)
    assert few <= 8 * (3 * ROWS * WIDTH + 8 * ROWS)
    assert many >= 8 * ROWS * ROWS


@pytest.mark.parametrize("columns", [5, ROWS])
def test_primitive_saves_features_and_its_results_only(
    batch: Callable[..., Any], columns: int
) -> None:
    images, texts, scale = batch(ROWS, WIDTH)
    leaves = images, texts[:columns], scale
    few = saved_bytes(bidirectional_logsumexp, *leaves, backend="chunked")
    many = saved_bytes(bidirectional_logsumexp, *leaves, backend="dense")
    assert few <= 8 * ((ROWS + columns) * (WIDTH + 1) + 1)
    assert many >= 8 * ROWS * columns


@pytest.mark.usefixtures("small_blocks")
def test_sweeps_make_tiles_only(batch: Callable[..., Any]) -> None:
    # Not by way of the loss: within an operator of torch.library no mode is told of anything.
    features = [leaf.detach() for leaf in batch(ROWS, WIDTH)]
    with LargestTensor() as largest:
        rows, columns = chunked.logsumexps(*features)
        chunked.gradient_products(*features, rows, columns, rows, columns, 1.0, 0)
    assert largest.elements == ROWS * WIDTH


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
def test_loss_makes_blocks_only(
    batch: Callable[..., Any], target: LowRank, clamp_eps: float | None
) -> None:
    with LargestTensor() as largest:
        loss = similarity_clip_loss(
            *batch(ROWS, WIDTH), target=target, backend="chunked", clamp_eps=clamp_eps
        )
        loss.backward()
    assert ROWS * WIDTH <= largest.elements <= 2 * ROWS * WIDTH


def most_bytes(function: Callable[[], Any]) -> int:
    """Count what is alive at most of what is allocated, within operators too."""
    with torch.profiler.profile(profile_memory=True) as profiler:
        function()
    events = profiler.profiler.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(itertools.accumulate(change for _, change in memory))


def test_a_target_adds_what_it_saves_and_little_more(
    monkeypatch: pytest.MonkeyPatch, batch: Callable[..., Any]
) -> None:
    monkeypatch.setattr(target_module, "FEW_VALUES", 0)
    monkeypatch.setattr(target_module, "SLICE_WIDTH", 128)
    rows, width = 64, 1024
    leaves = batch(rows, width)
    factor = torch.rand(rows, 2, dtype=torch.float64)

    def step(target: LowRank | None) -> None:
        similarity_clip_loss(*leaves, target=target, backend="chunked").backward()
        for leaf in leaves:
            leaf.grad = None

    step(None)
    plain, softened = (most_bytes(lambda t=t: step(t)) for t in (None, LowRank(factor, factor)))
    size = 8 * rows * width
    assert 2 * size < plain
    assert softened <= plain + 1.25 * size


@pytest.mark.parametrize("slice_width", [3, 8, 100])
def test_slices_give_the_product_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, slice_width: int
) -> None:
    monkeypatch.setattr(target_module, "FEW_VALUES", 0)
    monkeypatch.setattr(target_module, "SLICE_WIDTH", slice_width)
    table = torch.rand(5, 7, dtype=torch.float64)
    images, texts = (torch.randn(size, WIDTH, dtype=torch.float64) for size in table.shape)
    target = TwoWayTarget(Dense(table), table.sum(1), table.sum(0))
    by_row, by_column = table / table.sum(1, keepdim=True), table / table.sum(0)
    both = (by_row + by_column) / 2
    of_images, of_texts = torch.ones_like(images), torch.ones_like(texts)
    target.add_matmul(of_images, texts, 0.5)
    target.add_rmatmul(of_texts, images, -0.5)
    torch.testing.assert_close(of_images, 1 + both @ texts / 2)
    torch.testing.assert_close(of_texts, 1 - both.T @ images / 2)
    attractions = [(images * (part @ texts)).sum() for part in (by_row, by_column)]
    torch.testing.assert_close(target.attractions(images, texts), tuple(attractions))


class Counting:
    """A target of another's: it does not say what its products cost."""

    def __init__(self) -> None:
        self.widths: list[int] = []

    def matmul(self, x: Tensor) -> Tensor:
        self.widths.append(x.shape[1])
        return x


@pytest.mark.parametrize("recomputes", [None, True, False])
def test_what_is_computed_again_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, recomputes: bool | None
) -> None:
    monkeypatch.setattr(target_module, "FEW_VALUES", 0)
    monkeypatch.setattr(target_module, "SLICE_WIDTH", 4)
    counting, ones = Counting(), torch.ones(ROWS)
    if recomputes is not None:
        counting.recomputes = recomputes  # type: ignore[attr-defined]
    total = torch.zeros(ROWS, WIDTH)
    TwoWayTarget(counting, ones, ones).add_matmul(total, total, 1.0)  # type: ignore[arg-type]
    assert counting.widths == ([8, 8] if recomputes is False else [2 * WIDTH])


def test_operators_tell_whether_products_compute_them_again() -> None:
    computed = ExpCosine(torch.eye(2), torch.eye(2), temperature=0.5)
    kept, picks = Dense(torch.eye(2)), Sparse.of_table(torch.eye(2))
    assert [part.recomputes for part in (computed, kept, picks)] == [True, False, False]
    for part in (computed, kept):
        assert Factored(picks, part, picks).recomputes == part.recomputes
        assert ScaledSum((0.5, 0.5), (kept, part)).recomputes == part.recomputes


@pytest.mark.parametrize("shape", [(1, 1), (7, 3000), (3000, 7), (3000, 2100), (2, 400_000)])
@pytest.mark.parametrize("workspace", [2**16, 2**22])
def test_tiles_cover_all_pairs_once_within_the_workspace(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], workspace: int
) -> None:
    monkeypatch.setattr(chunked, "WORKSPACE_BYTES", {"cpu": workspace})
    images, texts = (torch.empty(size, 1) for size in shape)
    areas = []
    row_ends, column_ends = {0}, {0}
    for rows, columns in chunked.tiles(images, texts):
        assert rows.start in row_ends
        assert columns.start in column_ends
        row_ends.add(rows.stop)
        column_ends.add(columns.stop)
        areas.append((rows.stop - rows.start) * (columns.stop - columns.start))
    assert sum(areas) == shape[0] * shape[1]
    assert max(areas) * 4 * chunked.TILES_ALIVE <= workspace
    # As few as there can be, but for ragged edges.
    assert len(areas) <= 2 * (2 + sum(areas) * 4 * chunked.TILES_ALIVE // workspace)
