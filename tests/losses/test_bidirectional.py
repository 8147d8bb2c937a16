"""The primitive against its definition in float64, whatever the incoming gradients are."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from selip_core.losses import bidirectional_logsumexp
from selip_core.losses.backends import BACKENDS

# The Triton kernels have tests of their own.
NAMES = sorted({*BACKENDS} - {"triton"})
backends = pytest.mark.parametrize("backend", NAMES)
shapes = pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (7, 1), (5, 12), (33, 16)])


def inputs(rows: int, columns: int, width: int = 5, dtype: torch.dtype = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(rows + columns)
    images = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    texts = torch.randn(columns, width, generator=generator, dtype=torch.float64)
    scalars = torch.tensor(3.0, dtype=torch.float64), torch.tensor(-0.5, dtype=torch.float64)
    return [tensor.to(dtype).requires_grad_() for tensor in (images, texts, *scalars)]


def definition(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Any:
    logits = scale * images @ texts.T + bias
    return logits.logsumexp(1), logits.logsumexp(0)


def primitive(backend: str) -> Callable[..., Any]:
    def call(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Any:
        return bidirectional_logsumexp(images, texts, scale, logit_bias=bias, backend=backend)

    return call


REFUSED = r"no second derivative .* use backend='dense'"


def incoming(results: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Gradients of both signs, small ones and exact zeros among them."""
    drawn = [torch.linspace(-2, 1, len(result), dtype=torch.float64) ** 3 for result in results]
    return [
        part.where(part.abs() > 1e-2, 0).to(result)
        for part, result in zip(drawn, results, strict=True)
    ]


@backends
@shapes
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_is_its_definition(backend: str, rows: int, columns: int, dtype: torch.dtype) -> None:
    leaves = inputs(rows, columns, dtype=dtype)
    exact_leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    actual, expected = primitive(backend)(*leaves), definition(*exact_leaves)
    gradients = torch.autograd.grad(actual, leaves, incoming(actual))
    exact = torch.autograd.grad(expected, exact_leaves, incoming(expected))
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    for value, reference in zip((*actual, *gradients), (*expected, *exact), strict=True):
        assert value.dtype == dtype
        magnitude = reference.detach().abs().max().item() + 1
        torch.testing.assert_close(value.double(), reference, atol=tolerance * magnitude, rtol=0)


def test_by_hand() -> None:
    # Logits [[ln 2, 0, 0]]: the row sums to 4; each column is its only logit.
    images, texts = torch.tensor([[1.0]]), torch.tensor([[2.0], [1.0], [1.0]]).log()
    for backend in NAMES:
        rows, columns = bidirectional_logsumexp(images, texts, 1.0, backend=backend)
        torch.testing.assert_close(rows.exp(), torch.tensor([4.0]))
        torch.testing.assert_close(columns.exp(), torch.tensor([2.0, 1.0, 1.0]))


@backends
@pytest.mark.parametrize("index", [0, 1])
def test_either_result_alone(backend: str, index: int) -> None:
    leaves = inputs(4, 3)
    actual = torch.autograd.grad(primitive(backend)(*leaves)[index].sum(), leaves)
    expected = torch.autograd.grad(definition(*leaves)[index].sum(), leaves)
    torch.testing.assert_close(actual, expected)


@backends
@pytest.mark.usefixtures("small_blocks")
def test_gradients_by_finite_differences(backend: str) -> None:
    assert torch.autograd.gradcheck(primitive(backend), inputs(4, 7, 3))


@backends
@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_sum(backend: str, rows: int, columns: int) -> None:
    leaves = inputs(rows, columns)
    results = primitive(backend)(*leaves)
    for result, size in zip(results, (rows, columns), strict=True):
        torch.testing.assert_close(result, torch.full((size,), -torch.inf).double())
    for gradient in torch.autograd.grad([result.sum() for result in results], leaves[:3]):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@backends
def test_numbers_for_scale_and_bias(backend: str) -> None:
    images, texts, *_ = inputs(3, 4)
    actual = bidirectional_logsumexp(images, texts, 2, logit_bias=1.5, backend=backend)
    two, bias = torch.tensor(2.0).double(), torch.tensor(1.5).double()
    torch.testing.assert_close(actual, definition(images, texts, two, bias))


@backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_round(backend: str, dtype: torch.dtype) -> None:
    leaves = inputs(40, 30, 16, dtype)

    # Plain autograd of the dense back end takes the autocast that its backward runs under.
    def values(enabled: bool) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            results = primitive(backend)(*leaves)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled and backend != "dense"):
            return [*results, *torch.autograd.grad(results, leaves, incoming(results))]

    torch.testing.assert_close(values(True), values(False), atol=0, rtol=0)


@backends
@pytest.mark.parametrize("reentrant", [True, False])
def test_under_checkpointing(backend: str, reentrant: bool) -> None:
    leaves = inputs(6, 5)
    plain = primitive(backend)(*leaves)
    again = checkpoint(primitive(backend), *leaves, use_reentrant=reentrant)
    gradients = [torch.autograd.grad(plain, leaves, incoming(plain))]
    for leaf in leaves:
        leaf.grad = None
    torch.autograd.backward(again, incoming(again))
    torch.testing.assert_close([leaf.grad for leaf in leaves], list(gradients[0]))


def registered() -> list[str]:
    return [name for name in NAMES if name != "dense"]


@pytest.mark.parametrize("backend", registered())
def test_second_derivative_is_refused(backend: str) -> None:
    leaves = inputs(4, 3)
    gradients = torch.autograd.grad(
        [result.sum() for result in primitive(backend)(*leaves)], leaves[:3], create_graph=True
    )
    for gradient in gradients:
        with pytest.raises(RuntimeError, match=REFUSED):
            torch.autograd.grad(gradient.square().sum(), leaves, allow_unused=True)


def test_second_derivative_of_dense() -> None:
    assert torch.autograd.gradgradcheck(primitive("dense"), inputs(3, 2, 2))


@pytest.mark.parametrize("backend", registered())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "columns"), [(6, 4), (1, 5)])
def test_operators_keep_their_contract(
    backend: str, dtype: torch.dtype, rows: int, columns: int
) -> None:
    images, texts, *_ = inputs(rows, columns, dtype=dtype)
    scale = torch.tensor(3.0, requires_grad=True)
    operators = torch.ops.selip_core
    logsumexps = getattr(operators, f"{backend}_logsumexps").default
    torch.library.opcheck(logsumexps, (images, texts, scale))
    torch.library.opcheck(logsumexps, (images.detach(), texts, scale.detach()))
    plain = [tensor.detach() for tensor in (images, texts, scale)]
    vectors = [torch.rand(size) for size in (rows, columns, rows, columns)]
    products = getattr(operators, f"{backend}_gradient_products").default
    for wanted in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(products, (*plain, *vectors, 0.5, 0, *wanted))
    with pytest.raises(RuntimeError, match=REFUSED):
        products(images, texts, scale, *vectors, 0.5, 0, True, True)[0].sum().backward()


def test_compiler_is_not_imported() -> None:
    code = (
        "import sys, torch\n"
        "from selip_core.losses import similarity_clip_loss\n"
        "features = torch.eye(3, requires_grad=True)\n"
        "similarity_clip_loss(features, features, 1.0, backend='chunked').backward()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("images", "texts", "options", "message"),
    [
        (torch.ones(3, 4), torch.ones(2, 5), {}, r"\(n, d\) and \(m, d\), got \(3, 4\) and \(2, 5"),
        (torch.ones(3), torch.ones(3), {}, r"\(n, d\) and \(m, d\), got \(3,\) and \(3,\)"),
        (torch.ones(3, 4), torch.ones(2, 4).half(), {}, "same floating type, got torch.float32"),
        (torch.ones(3, 4), torch.ones(2, 4).to("meta"), {}, "same device, got cpu and meta"),
        (torch.ones(3, 4), torch.ones(2, 4), {"backend": "fast"}, "backend must be one of"),
        (torch.ones(3, 4), torch.ones(2, 4), {"logit_bias": torch.ones(2)}, "logit_bias must be"),
    ],
)
def test_bad_input(images: Tensor, texts: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bidirectional_logsumexp(images, texts, 1.0, **options)
