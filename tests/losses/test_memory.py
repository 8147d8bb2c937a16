"""The chunked back end keeps and makes no table of all pairs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selip_core.losses import similarity_clip_loss
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


def saved_elements(features: tuple[Tensor, ...], **options: Any) -> int:
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        similarity_clip_loss(*features, **options)
    return sum(tensor.numel() for tensor in saved)


@pytest.fixture
def target() -> LowRank:
    factor = torch.rand(ROWS, 2, dtype=torch.float64)
    return LowRank(factor, factor)


@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
def test_saves_features_and_vectors_only(
    batch: Callable[..., Any], target: LowRank, clamp_eps: float | None
) -> None:
    options = {"target": target, "clamp_eps": clamp_eps}
    few = saved_elements(batch(ROWS, WIDTH), backend="chunked", **options)
    many = saved_elements(batch(ROWS, WIDTH), backend="dense", **options)
    assert few <= 3 * ROWS * WIDTH + 8 * ROWS
    assert many >= ROWS * ROWS


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
def test_makes_blocks_only(
    batch: Callable[..., Any], target: LowRank, clamp_eps: float | None
) -> None:
    with LargestTensor() as largest:
        loss = similarity_clip_loss(
            *batch(ROWS, WIDTH), target=target, backend="chunked", clamp_eps=clamp_eps
        )
        loss.backward()
    assert ROWS * WIDTH <= largest.elements <= 2 * ROWS * WIDTH
