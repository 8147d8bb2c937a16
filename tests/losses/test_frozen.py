"""What nobody wants a gradient of is not computed: frozen towers and a fixed scale."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from selip_core.losses import bidirectional_logsumexp, chunked, similarity_clip_loss
from selip_core.losses.one_node import soft_cross_entropy
from selip_core.losses.ranks import Ranks
from selip_core.losses.target import TwoWayTarget
from selip_core.losses.weights import Weights
from selip_core.similarity.operators import Dense

pytestmark = pytest.mark.usefixtures("small_blocks")

ROWS, WIDTH = 7, 4
SOME = [wanted for wanted in product([True, False], repeat=3) if any(wanted)]
some = pytest.mark.parametrize("wanted", SOME, ids=lambda wanted: "".join("ny"[x] for x in wanted))


def leaves_of(batch: Callable[..., Any], wanted: tuple[bool, ...]) -> list[Tensor]:
    made = batch(ROWS, WIDTH)
    return [leaf.detach().requires_grad_(x) for leaf, x in zip(made, wanted, strict=True)]


def gradients_of(
    function: Callable[..., Tensor], leaves: list[Tensor], **options: Any
) -> list[Tensor]:
    function(*leaves, **options).backward()
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


@some
@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"clamp_eps": 1e-2}], ids=str)
def test_the_others_are_as_ever(
    wanted: tuple[bool, ...],
    options: dict[str, float],
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
) -> None:
    options = {**options, "target": similarities(ROWS)}
    dense, actual = (
        gradients_of(similarity_clip_loss, leaves_of(batch, wanted), backend=backend, **options)
        for backend in ("dense", "chunked")
    )
    assert len(actual) == sum(wanted)
    torch.testing.assert_close(actual, dense)


def summed(*leaves: Tensor, backend: str) -> Tensor:
    rows, columns = bidirectional_logsumexp(*leaves, backend=backend)
    return (rows**2).sum() - columns.sum()


@some
def test_of_the_primitive(wanted: tuple[bool, ...], batch: Callable[..., Any]) -> None:
    dense, actual = (
        gradients_of(summed, leaves_of(batch, wanted), backend=backend)
        for backend in ("dense", "chunked")
    )
    assert len(actual) == sum(wanted)
    torch.testing.assert_close(actual, dense)


class Counting:
    """A table that counts its products."""

    def __init__(self, table: Tensor) -> None:
        self.table, self.calls = Dense(table), {"matmul": 0, "rmatmul": 0}

    def matmul(self, x: Tensor) -> Tensor:
        self.calls["matmul"] += 1
        return self.table.matmul(x)

    def rmatmul(self, x: Tensor) -> Tensor:
        self.calls["rmatmul"] += 1
        return self.table.rmatmul(x)


def addmm_in_place(total: torch.Size, left: torch.Size, right: torch.Size, **others: Any) -> int:
    return 2 * left[0] * left[1] * right[1]


@some
def test_products_that_nobody_wants(
    wanted: tuple[bool, ...], batch: Callable[..., Any], similarities: Callable[..., Tensor]
) -> None:
    leaves, target = leaves_of(batch, wanted), Counting(similarities(ROWS))
    of_rows, of_columns = target.table.row_sums(), target.table.column_sums()
    weights, alone = Weights.of(1.0, 1.0, 0.0), Ranks(None, (ROWS,), 0)
    in_place = {torch.ops.aten.addmm_: addmm_in_place}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        # The plain sweeps: as operators they hide their products from the counter.
        two_way: Any = TwoWayTarget(target, of_rows, of_columns)  # type: ignore[arg-type]
        loss = soft_cross_entropy(*leaves, two_way, weights, alone, sweeps=chunked)
        loss.backward()
    of_images, of_texts = wanted[0] or not wanted[1], wanted[1]
    of_target = 2 * (2 * ROWS * ROWS * WIDTH)  # with and without the sums, side by side
    operations = counter.get_total_flops() - of_target * (1 + of_texts)
    # The logits twice, and a product for each side.
    assert operations == (2 + of_images + of_texts) * 2 * ROWS * ROWS * WIDTH
    assert target.calls == {"matmul": 1, "rmatmul": int(of_texts)}
