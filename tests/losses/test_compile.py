"""Compiled, the primitive and the loss are one graph, with the values of eager mode."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from selip_core.losses import SimilarityCLIPLoss, bidirectional_logsumexp, similarity_clip_loss
from selip_core.similarity.operators import (
    Dense,
    ExpCosine,
    Factored,
    Identity,
    LowRank,
    ScaledSum,
    SimilarityOperator,
    Sparse,
)

ROWS = 6
backends = pytest.mark.parametrize("backend", ["chunked", "dense"])


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return torch.compile(function, fullgraph=True, **{"backend": "aot_eager", **options})


def target(kind: str) -> SimilarityOperator | Tensor | None:
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(ROWS, ROWS, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 4, 5])
    weights = Sparse.of_table(table[:, :4] * (table[:, :4] > 0.3))
    same = Identity(labels, labels, torch.ones(ROWS, dtype=torch.float64))
    kinds = {
        "none": None,
        "table": table,
        "Dense": Dense(table),
        "ExpCosine": ExpCosine(table, table, 0.5),
        "Factored": Factored(weights, Dense(table[:4, :4]), weights),
        "Identity": same,
        "LowRank": LowRank(table[:, :2], table[:, 2:4]),
        "ScaledSum": ScaledSum((0.3, 0.7), (Dense(table), same)),
        "Sparse": Sparse.of_table(table * (table > 0.3)),
    }
    return kinds[kind]


KINDS = ["none", "table", "Dense", "ExpCosine", "Factored", "Identity", "LowRank", "ScaledSum"]
CASES = [
    *((kind, "chunked") for kind in [*KINDS, "Sparse"]),
    ("table", "dense"),
    ("Factored", "dense"),
]


@backends
def test_primitive_is_one_graph(
    backend: str, batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    def summed(*leaves: Tensor) -> Tensor:
        rows, columns = bidirectional_logsumexp(*leaves, logit_bias=0.5, backend=backend)
        return (rows**2).sum() - columns.sum()

    expected = results(summed, batch(ROWS))
    torch.testing.assert_close(results(compiled(summed), batch(ROWS)), expected)


@pytest.mark.parametrize(("kind", "backend"), CASES)
def test_loss_is_one_graph(
    kind: str, backend: str, batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    loss_fn = compiled(lambda *leaves: similarity_clip_loss(*leaves, target=of, backend=backend))
    of = target(kind)
    expected = results(similarity_clip_loss, batch(ROWS), target=of, backend=backend)
    torch.testing.assert_close(results(loss_fn, batch(ROWS)), expected)


def test_target_of_each_step_is_an_input(
    batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    loss_fn = compiled(SimilarityCLIPLoss(backend="chunked", label_smoothing=0.1))
    eager = SimilarityCLIPLoss(backend="dense", label_smoothing=0.1)
    for seed in (0, 1):
        features, of = batch(ROWS, seed=seed), LowRank(*torch.rand(2, ROWS, 2).double())
        expected = results(eager, features, target=of)
        torch.testing.assert_close(results(loss_fn, features, target=of), expected)


@backends
def test_batches_of_many_sizes(
    backend: str, batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    loss_fn = compiled(similarity_clip_loss, dynamic=True)
    for rows in (4, 7):
        options = {"target": torch.eye(rows).double() + 0.1, "backend": backend}
        expected = results(similarity_clip_loss, batch(rows), **options)
        torch.testing.assert_close(results(loss_fn, batch(rows), **options), expected)


@pytest.mark.parametrize(
    "options", [{"clamp_eps": 1e-2}, {"label_smoothing": 0.1, "logit_bias": torch.tensor(-1.0)}]
)
def test_options_are_in_the_graph(
    options: dict[str, Any], batch: Callable[..., Any], results: Callable[..., Any]
) -> None:
    options = {**options, "target": target("table"), "backend": "chunked"}
    expected = results(similarity_clip_loss, batch(ROWS), **options)
    actual = results(compiled(similarity_clip_loss), batch(ROWS), **options)
    torch.testing.assert_close(actual, expected)


def test_statistics_are_in_the_graph(batch: Callable[..., Any]) -> None:
    options = {"target": target("table"), "backend": "chunked", "return_stats": True}
    expected = similarity_clip_loss(*batch(ROWS), **options).statistics.image_to_text
    actual = compiled(similarity_clip_loss)(*batch(ROWS), **options).statistics.image_to_text
    torch.testing.assert_close(actual.target_entropy, expected.target_entropy)
    torch.testing.assert_close(actual.similarity, expected.similarity)


def test_finite_checks_are_in_the_graph(batch: Callable[..., Any]) -> None:
    loss_fn, (images, *others) = compiled(similarity_clip_loss), batch(ROWS)
    loss = loss_fn(images, *others, check_finite=True)
    torch.testing.assert_close(loss, similarity_clip_loss(images, *others))
    images = torch.full_like(images, torch.nan, requires_grad=True)
    with pytest.raises(RuntimeError, match="image_features must be finite"):
        loss_fn(images, *others, check_finite=True)


@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
@pytest.mark.parametrize(
    ("values", "message"),
    [(-torch.ones(ROWS, ROWS), "not negative"), (torch.zeros(ROWS, ROWS), "finite sum above 0")],
)
def test_bad_targets_are_not_silent(
    batch: Callable[..., Any], compiler: str, values: Tensor, message: str
) -> None:
    loss_fn = compiled(similarity_clip_loss, backend=compiler)
    with torch.enable_grad(), pytest.raises(RuntimeError, match=message):
        loss_fn(*batch(ROWS, dtype=torch.float32), target=values)


def test_second_derivative_is_refused(batch: Callable[..., Any]) -> None:
    leaves = batch(ROWS)
    loss = compiled(similarity_clip_loss)(*leaves, backend="chunked")
    gradient, *_ = torch.autograd.grad(loss, leaves, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        gradient.square().sum().backward()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor(batch: Callable[..., Any], results: Callable[..., Any]) -> None:
    loss_fn = compiled(similarity_clip_loss, backend="inductor")
    options = {"target": target("LowRank"), "backend": "chunked"}
    expected = results(similarity_clip_loss, batch(ROWS), **options)
    torch.testing.assert_close(results(loss_fn, batch(ROWS), **options), expected)
    with pytest.raises(RuntimeError, match="finite sum above 0"):
        loss_fn(*batch(ROWS), target=LowRank(*torch.zeros(2, ROWS, 2).double()), backend="chunked")
