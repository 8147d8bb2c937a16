"""The chunked back end keeps no table of all pairs, and makes none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selip_core.losses import bidirectional_logsumexp, chunked, similarity_clip_loss
from selip_core.similarity.operators import LowRank

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
