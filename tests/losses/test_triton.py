"""The Triton kernels: compiled on a GPU, elsewhere in Triton's interpreter.

The interpreter has to be asked for before Triton is imported: without a GPU
``test_triton_interpreted.py`` runs this file in a process of its own. What the interpreter does in
bfloat16 is no measure.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
RUNS = INTERPRETED or torch.cuda.is_available()

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not RUNS, reason="needs a CUDA device or TRITON_INTERPRET=1"),
]

if RUNS:
    pytest.importorskip("triton", reason="needs the package triton")
    from selip_core.losses import (
        bidirectional_logsumexp,
        chunked,
        one_node,
        similarity_clip_loss,
        triton_sweeps,
        triton_tiles,
    )
    from selip_core.testing import (
        assert_as_exact_as_dense,
        converged_features,
        oracle,
        textbook_loss,
        value_and_gradients,
    )

# Both dimensions odd, powers of two, under and over a tile, in few enough combinations.
SHAPES = [(1, 1, 1), (1, 130, 7), (7, 7, 130), (7, 64, 64), (64, 64, 7), (64, 7, 1), (130, 130, 64)]
LARGE = [] if INTERPRETED else [(1000, 3000, 512), (513, 257, 4096), (4096, 4096, 768)]
LOW = [torch.float16] if INTERPRETED else [torch.float16, torch.bfloat16]
Sweeps = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def ieee() -> Iterator[None]:
    """Torch's own products in float32 as they come, without tf32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def small_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block of rows a panel, so that small batches take many and the last is ragged."""
    monkeypatch.setattr(triton_tiles, "WORKSPACE_BYTES", 0)


def drawn(n: int, m: int, d: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + 1000 * m + d)
    shapes = [(n, d), (m, d)]
    return tuple(  # type: ignore[return-value]
        normalize(torch.randn(shape, generator=generator), dim=1).to(DEVICE, dtype)
        for shape in shapes
    )


def sweeps_of(
    sweeps: Any,
    images: Tensor,
    texts: Tensor,
    scale: float,
    own_weight: float = 0.7,
    first_own: int = 0,
) -> Sweeps:
    """Run both sweeps, with weights of both signs and some zeros."""
    like = {"dtype": torch.promote_types(images.dtype, torch.float32), "device": images.device}
    logit_scale = torch.tensor(scale, **like)
    rows, columns = sweeps.logsumexps(images, texts, logit_scale)
    weights = [
        torch.linspace(-1, 2, len(x), **like) * (torch.arange(len(x), device=x.device) % 3 > 0)
        for x in (images, texts)
    ]
    products = sweeps.gradient_products(
        images, texts, logit_scale, rows, columns, *weights, own_weight, first_own
    )
    return rows, columns, *products


def exact(images: Tensor, texts: Tensor, *others: Any) -> Sweeps:
    return sweeps_of(chunked, images.cpu().double(), texts.cpu().double(), *others)


def assert_near(actual: Sweeps, expected: Sweeps, tolerance: float) -> None:
    for value, reference in zip(actual, expected, strict=True):
        assert value.dtype == torch.float32
        magnitude = float(reference.abs().max()) + 1
        torch.testing.assert_close(
            value.cpu().double(), reference, atol=tolerance * magnitude, rtol=0
        )


@pytest.mark.parametrize("shape", SHAPES + LARGE)
def test_is_the_float64_result(shape: tuple[int, int, int]) -> None:
    images, texts = drawn(*shape)
    assert_near(sweeps_of(triton_sweeps, images, texts, 14.0), exact(images, texts, 14.0), 2e-6)


@pytest.mark.parametrize("shape", [(7, 64, 64), (130, 130, 7), *LARGE])
@pytest.mark.parametrize("dtype", LOW)
def test_low_precision_rounds_the_gradient_tile_only(
    shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    images, texts = drawn(*shape, dtype=dtype)
    rows, columns, *products = sweeps_of(triton_sweeps, images, texts, 14.0)
    expected = exact(images, texts, 14.0)
    assert_near((rows, columns), expected[:2], 2e-6)
    assert_near(tuple(products), expected[2:], torch.finfo(dtype).eps)


@pytest.mark.usefixtures("small_workspace")
@pytest.mark.parametrize("first_own", [0, 29, 47])
def test_own_pairs_of_a_later_rank(first_own: int) -> None:
    images, texts = drawn(83, 130, 16)
    options = (14.0, 0.7, first_own)
    actual = sweeps_of(triton_sweeps, images, texts, *options)
    assert_near(actual, exact(images, texts, *options), 2e-6)
    elsewhere = exact(images, texts, 14.0, 0.7, 11)
    assert not torch.allclose(actual[2].cpu().double(), elsewhere[2], atol=1e-3)


@pytest.mark.usefixtures("small_workspace")
def test_panels_of_rows_fold_to_the_whole() -> None:
    block = triton_tiles.block_rows(torch.float32)
    images, texts = drawn(3 * block + 1, 2 * block + 1, 8)
    assert_near(sweeps_of(triton_sweeps, images, texts, 14.0), exact(images, texts, 14.0), 2e-6)


def test_panels_stay_within_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_tiles, "WORKSPACE_BYTES", 1000)
    panels = list(triton_tiles.row_panels(rows=100, block=16, block_bytes=400))
    assert [(panel.start, panel.stop) for panel in panels] == [
        (0, 32), (32, 64), (64, 96), (96, 100)
    ]  # fmt: skip


class LargestTensor(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation gives."""

    bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.nbytes for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.bytes = max(self.bytes, *sizes, 0)
        return result


@pytest.mark.usefixtures("small_workspace")
def test_makes_panels_only() -> None:
    block = triton_tiles.block_rows(torch.float32)
    rows = 5 * block
    images, texts = drawn(rows, rows, 8)
    with LargestTensor() as largest:
        sweeps_of(triton_sweeps, images, texts, 14.0)
    assert largest.bytes == block * rows * 4


@pytest.mark.parametrize("dtype", [torch.float32, *LOW])
def test_repeats_are_bit_identical(dtype: torch.dtype) -> None:
    images, texts = drawn(130, 64, 33, dtype)
    first, second = (sweeps_of(triton_sweeps, images, texts, 14.0) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("scale", [0.0, 100.0, 1e4, -1e4])
def test_extreme_logits(scale: float) -> None:
    images, texts = drawn(40, 40, 8)
    texts[:20] = images[:20]
    actual = sweeps_of(triton_sweeps, images, texts, scale)
    # One rounding of a logit of 1e4 is 5e-4 in float32, and as much in a probability.
    tolerance = 2e-6 + 8 * abs(scale) * torch.finfo(torch.float32).eps
    assert_near(actual, exact(images, texts, scale), tolerance)


def test_one_pair_with_all_the_probability_has_no_gradient() -> None:
    features = torch.eye(48, device=DEVICE)
    scale = torch.tensor(1e4, device=DEVICE)
    ones = torch.ones(48, device=DEVICE)
    statistics = triton_sweeps.logsumexps(features, features, scale)
    products = triton_sweeps.gradient_products(
        features, features, scale, *statistics, ones, ones, 2.0, 0
    )
    for product in products:
        assert torch.equal(product, torch.zeros_like(product))


def test_equal_features_share_the_probability() -> None:
    features = normalize(torch.ones(70, 5, device=DEVICE), dim=1)
    rows, columns, *_ = actual = sweeps_of(triton_sweeps, features, features, 30.0)
    assert_near(actual, exact(features, features, 30.0), 4e-6)
    expected = torch.full_like(rows, 30 + torch.log(torch.tensor(70.0)).item())
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(columns, expected)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_sides_that_nobody_wants_have_no_rows(wanted: tuple[bool, bool]) -> None:
    images, texts = drawn(40, 33, 8)
    rows, columns, *_ = sweeps_of(triton_sweeps, images, texts, 14.0)
    scale = torch.tensor(14.0, device=DEVICE)
    weights = torch.linspace(-1, 2, 40, device=DEVICE), torch.linspace(-1, 2, 33, device=DEVICE)
    given = (images, texts, scale, rows, columns, *weights, 0.7, 0)
    both = triton_sweeps.gradient_products(*given)
    for product, whole, asked in zip(
        triton_sweeps.gradient_products(*given, *wanted), both, wanted, strict=True
    ):
        assert torch.equal(product, whole if asked else whole[:0])


def test_no_rows_leave_the_columns_empty() -> None:
    images, texts = drawn(0, 5, 3)
    rows, columns, image_products, text_products = sweeps_of(triton_sweeps, images, texts, 14.0)
    assert rows.shape == (0,)
    assert image_products.shape == (0, 3)
    assert (columns == -torch.inf).all()
    assert not text_products.any()


@pytest.mark.parametrize("count", [0, 5])
def test_no_columns_leave_the_rows_empty(count: int) -> None:
    images, texts = drawn(count, 0, 3)
    rows, columns, image_products, text_products = sweeps_of(triton_sweeps, images, texts, 14.0)
    assert rows.shape == (count,)
    assert (rows == -torch.inf).all()
    assert columns.shape == (0,)
    assert text_products.shape == (0, 3)
    assert not image_products.any()


def test_features_need_not_be_contiguous() -> None:
    images, texts = drawn(30, 40, 12)
    strided = images.repeat(1, 2)[:, :12], texts.T.contiguous().T
    assert not any(features.is_contiguous() for features in strided)
    actual = sweeps_of(triton_sweeps, *strided, 14.0)
    for value, expected in zip(actual, sweeps_of(triton_sweeps, images, texts, 14.0), strict=True):
        assert torch.equal(value, expected)


def test_not_a_number_comes_through() -> None:
    images, texts = drawn(40, 40, 8)
    images[3, 2] = torch.nan
    rows, columns, *_ = sweeps_of(triton_sweeps, images, texts, 14.0)
    assert torch.equal(rows.isnan().nonzero().flatten().cpu(), torch.tensor([3]))
    assert columns.isnan().all()


def test_batches_of_like_size_share_a_choice_of_tiles() -> None:
    large, last = (triton_tiles.fixed_arguments(*drawn(rows, rows, 8)) for rows in (60, 33))
    assert large == last


def test_tf32_only_where_torch_may_round_to_it() -> None:
    assert triton_tiles.input_precision() == "ieee"
    torch.set_float32_matmul_precision("high")
    assert triton_tiles.input_precision() == ("ieee" if torch.version.hip else "tf32")


@pytest.fixture
def tiles_in_low_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features as a GPU takes them; on a CPU the loss would compute in float32."""
    monkeypatch.setattr(one_node, "working", lambda features: features)


@pytest.mark.parametrize("rows", [1, 33, 64])
@pytest.mark.parametrize("targeted", [True, False])
def test_loss_and_gradients(
    rows: int,
    targeted: bool,
    batch: Callable[..., Any],
    similarities: Callable[..., Tensor],
    results: Callable[..., Any],
) -> None:
    leaves, target = batch(rows), similarities(rows) if targeted else None
    expected = results(similarity_clip_loss, leaves, target=target, backend="dense")
    leaves = [leaf.to(DEVICE, torch.float32) for leaf in leaves]
    target = None if target is None else target.to(DEVICE)
    actual = results(similarity_clip_loss, leaves, target=target, backend="triton")
    assert_near(tuple(actual), tuple(expected), 2e-6)


def test_logsumexps_as_a_primitive() -> None:
    def of(images: Tensor, texts: Tensor, backend: str) -> tuple[Tensor, ...]:
        leaves = images.requires_grad_(), texts.requires_grad_()
        rows, columns = bidirectional_logsumexp(*leaves, 14.0, backend=backend)
        objective = rows.square().sum() - columns.sum()
        gradients = torch.autograd.grad(objective, leaves)
        return tuple(x.detach() for x in (rows, columns, *gradients))

    images, texts = drawn(7, 40, 9)
    expected = of(images.cpu().double(), texts.cpu().double(), "dense")
    assert_near(of(images, texts, "triton"), expected, 4e-6)


@pytest.mark.usefixtures("tiles_in_low_precision")
@pytest.mark.parametrize("dtype", LOW)
def test_converged_features_in_low_precision(dtype: torch.dtype) -> None:
    labels = torch.arange(96) // 2
    target = (labels[:, None] == labels).float()
    features = converged_features(target, width=32, logit_scale=14.0)
    given, target = [*(x.to(DEVICE, dtype) for x in features), 14.0], target.to(DEVICE)
    assert_as_exact_as_dense(
        value_and_gradients(similarity_clip_loss, *given, target=target, backend="triton"),
        value_and_gradients(textbook_loss, *given, target=target),
        oracle(*given, target=target),
        converged=True,
    )
