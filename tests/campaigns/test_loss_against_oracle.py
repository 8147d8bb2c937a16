"""The loss and its gradients against float64, within the bounds that the documentation states."""

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from selip_core.losses import Target, bidirectional_logsumexp, similarity_clip_loss
from selip_core.losses.backends import BACKENDS, select_backend
from selip_core.losses.precision import accumulation_dtype
from selip_core.similarity.operators import Dense, Factored, Identity, LowRank, Sparse

SCALARS, FEATURES = 4, 1
"""Roundings of a scalar and of a gradient of features; ``docs/loss_derivation.md`` has them."""

KINDS = ("random", "collapsed", "equal", "duplicated", "converged", "opposite")
TARGETS = ("none", "dense", "low rank", "sparse", "factored", "identity")
DTYPES = (*[torch.float32] * 4, *[torch.float64] * 2, torch.bfloat16, torch.float16)
SCALES = (0.0, 1.0, 1 / 0.07, 100.0, 100.0)


@dataclass(frozen=True)
class Case:
    """One call: features, scale, and the settings that the oracle takes as well."""

    images: Tensor
    texts: Tensor
    scale: float
    table: Tensor | None
    target: Target | Tensor | None
    mask: Tensor | None
    bias: float | None
    align_weight: float
    similarity_weight: float
    label_smoothing: float
    clamp_eps: float | None


class Draw:
    """Random tensors and choices of one seed."""

    def __init__(self, seed: int) -> None:
        self.python = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def choice(self, *values):
        return self.python.choice(values)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def positions(self, count: int, below: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.generator)


def draw_case(seed: int) -> Case:
    draw = Draw(seed)
    rows, width = draw.choice(1, 2, 2, 3, 5, 8, 13, 24), draw.choice(1, 2, 3, 8, 17, 32, 64)
    dtype = draw.choice(*DTYPES)
    features = (part.to(dtype) for part in draw_features(draw, rows, width))
    table, target = draw_target(draw, rows)
    clamp_eps = draw.choice(None, None, None, 1e-3, 1e-2)
    mask = None
    if draw.choice(False, False, False, True):
        mask = draw.uniform(rows) < 0.7
        mask[draw.python.randrange(rows)] = True
    align_weight = draw.choice(1.0, 1.0, 0.25, 0.0)
    return Case(
        *features,
        draw.choice(*SCALES, math.exp(draw.python.uniform(0, math.log(100)))),
        table,
        target,
        mask,
        draw.choice(None, None, -10.0),
        align_weight,
        draw.choice(1.0, 0.5, 0.0) if align_weight else 1.0,
        draw.choice(0.0, 0.0, 0.1, 0.9) if clamp_eps is None else 0.0,
        clamp_eps,
    )


def draw_features(draw: Draw, rows: int, width: int) -> tuple[Tensor, Tensor]:
    """Return unit-norm features, as they are at random, after collapse and after convergence."""
    kind = draw.choice(*KINDS)
    images, texts = (normalize(draw.normal(rows, width), dim=1) for _ in range(2))
    if kind == "collapsed":
        spread = 10 ** (-6 * draw.python.random())
        common = draw.normal(1, width)
        return tuple(normalize(common + spread * part, dim=1) for part in (images, texts))
    if kind == "equal":
        return images[:1].repeat(rows, 1), images[:1].repeat(rows, 1)
    if kind == "duplicated":
        few = max(1, rows // 2)
        return images[draw.positions(rows, few)], texts[draw.positions(rows, few)]
    if kind == "converged":
        return images, normalize(images + 0.05 * draw.normal(rows, width), dim=1)
    return images, -images if kind == "opposite" else texts


def draw_target(draw: Draw, rows: int) -> tuple[Tensor | None, Target | Tensor | None]:
    """Return similarities as a table, and as what the loss is given."""
    kind = draw.choice(*TARGETS)
    if kind == "none":
        return None, None
    if kind == "low rank":
        left, right = (0.01 + draw.uniform(rows, 2) for _ in range(2))
        return left @ right.T, LowRank(left, right)
    if kind == "factored":
        findings = draw.choice(1, 2, 4)
        left, right = (few_values(draw, rows, findings) for _ in range(2))
        kernel = 0.01 + draw.uniform(findings, findings)
        factors = Sparse.of_table(left), Dense(kernel), Sparse.of_table(right)
        return left @ kernel @ right.T, Factored(*factors)
    if kind == "identity":
        labels = draw.positions(rows, max(1, rows // 2))
        ones = torch.ones(rows, dtype=torch.float64)
        return (labels[:, None] == labels).double(), Identity(labels, labels, ones)
    if kind == "sparse":
        table = few_values(draw, rows, rows).fill_diagonal_(1)
        return table, Sparse.of_table(table)
    table = draw.uniform(rows, rows).square().fill_diagonal_(1)
    return table, table


def few_values(draw: Draw, rows: int, columns: int) -> Tensor:
    """Return a table that is mostly 0, with no row of zeros."""
    table = draw.uniform(rows, columns) * (draw.uniform(rows, columns) < 0.4)
    table[torch.arange(rows), draw.positions(rows, columns)] = 1.0
    return table


def exact_loss(case: Case, images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return the loss in float64, with tables of all pairs."""
    logits, table = scale * images @ texts.T + (case.bias or 0.0), case.table
    if case.mask is not None:
        logits = logits[case.mask][:, case.mask]
        table = None if table is None else table[case.mask][:, case.mask]
    ways = logits.log_softmax(1), logits.T.log_softmax(1)
    own, rows = torch.eye(len(logits), dtype=torch.float64), len(logits)
    if case.clamp_eps is not None and table is not None:
        align = sum(cross_entropy(own, way) for way in ways) / 2
        divergence = sum(clamped_divergence(table, way, case.clamp_eps) for way in ways) / 2
        return case.align_weight * align + case.similarity_weight * divergence
    sharp, even = 1 - case.label_smoothing, case.label_smoothing / rows
    loss = case.align_weight * sum(cross_entropy(sharp * own + even, way) for way in ways) / 2
    if table is None:
        return loss
    wanted = table / table.sum(1, keepdim=True), (table / table.sum(0)).T
    soft = sum(
        cross_entropy(sharp * target + even, way) for target, way in zip(wanted, ways, strict=True)
    )
    return loss + case.similarity_weight * soft / 2


def cross_entropy(target: Tensor, log_prediction: Tensor) -> Tensor:
    return -(target * log_prediction).sum(1).mean()


def clamped_divergence(table: Tensor, log_prediction: Tensor, eps: float) -> Tensor:
    target = (table / table.sum(1, keepdim=True).clamp(min=eps)).clamp(eps, 1)
    prediction = log_prediction.exp().clamp(eps, 1)
    return (target * (target.log() - prediction.log())).sum(1).mean()


def clamps_are_clear(case: Case, error: float) -> bool:
    """Return whether no prediction is as near to the clamp as its logarithm is uncertain.

    There the gradient of the clamp jumps, and rounding decides on which side a pair is.
    """
    if case.clamp_eps is None or case.table is None:
        return True
    logits = torch.tensor(case.scale, dtype=torch.float64) * case.images.double()
    logits = logits @ case.texts.double().T
    if case.mask is not None:
        logits = logits[case.mask][:, case.mask]
    floor = math.log(case.clamp_eps)
    return all(
        bool(((way - floor).abs() > error).all())
        for way in (logits.log_softmax(1), logits.log_softmax(0))
    )


def usable(features: Tensor, *, clamped: bool = False) -> list[str]:
    """Return the back ends that take these features here."""
    names = []
    for name in BACKENDS:
        try:
            select_backend(name, 1, features, across_processes=False, clamped=clamped)
        except ValueError:
            continue
        names.append(name)
    return names


def rounding(scale: float, rows: int, dtype: torch.dtype) -> float:
    """Return ``eps (1 + tau + log N)``: what one logit or log-sum-exp loses."""
    return torch.finfo(accumulation_dtype(dtype)).eps * (1 + scale + math.log(rows))


def require(error: Tensor, allowed: Tensor | float, what: str) -> None:
    worst = float((error.detach().abs() / allowed).max())
    assert worst <= 1, f"error of the {what} is {worst:.2f} times its bound"


def require_features(actual: Tensor, exact: Tensor, allowed: float, what: str) -> None:
    """Hold a gradient of features to its bound; a low precision is rounded once more."""
    error, low = actual.double() - exact, torch.finfo(actual.dtype)
    if actual.dtype != accumulation_dtype(actual.dtype):
        allowed = allowed + low.eps * exact.abs() + low.eps * low.smallest_normal
    require(error, allowed, what)


def check(case: Case, backend: str, exact: list[Tensor]) -> None:
    dtype = accumulation_dtype(case.images.dtype)
    scale = torch.tensor(case.scale, dtype=dtype)
    leaves = [x.clone().requires_grad_() for x in (case.images, case.texts, scale)]
    loss = similarity_clip_loss(
        *leaves,
        logit_bias=case.bias,
        target=case.target,
        mask=case.mask,
        align_weight=case.align_weight,
        similarity_weight=case.similarity_weight,
        label_smoothing=case.label_smoothing,
        clamp_eps=case.clamp_eps,
        backend=backend,
    )
    actual = [loss.detach(), *torch.autograd.grad(loss, leaves)]
    rows = len(case.images) if case.mask is None else int(case.mask.sum())
    one = rounding(case.scale, rows, dtype) * (case.align_weight + case.similarity_weight)
    require(actual[0].double() - exact[0], SCALARS * one, f"loss of {backend}")
    if not clamps_are_clear(case, 2 * one):
        return
    require(actual[3].double() - exact[3], SCALARS * one, f"scale's gradient of {backend}")
    for index, name in ((1, "images"), (2, "texts")):
        allowed = max(FEATURES * case.scale * one, 1e-300)
        require_features(actual[index], exact[index], allowed, f"{name}' gradient of {backend}")


def test_loss(campaign):
    """Loss and gradients of every back end against float64."""
    for seed in campaign.seeds(500):
        with campaign.case(seed):
            case = draw_case(seed)
            # As the loss takes it: rounded to the type of the sums.
            scale = torch.tensor(case.scale, dtype=accumulation_dtype(case.images.dtype))
            given = (case.images, case.texts, scale)
            leaves = [tensor.double().requires_grad_() for tensor in given]
            value = exact_loss(case, *leaves)
            exact = [value.detach(), *torch.autograd.grad(value, leaves)]
            clamped = case.clamp_eps is not None
            for backend in usable(case.images, clamped=clamped):
                check(case, backend, exact)


def test_logsumexps(campaign):
    """Log-sum-exps of every back end, with any incoming gradients, against float64."""
    for seed in campaign.seeds(200):
        with campaign.case(seed):
            draw = Draw(seed)
            rows, width, scale = draw.choice(1, 2, 5, 24), draw.choice(1, 3, 32), 100.0
            features = draw_features(draw, rows, width)
            dtype = draw.choice(torch.float32, torch.float64)
            images, texts = (part.to(dtype) for part in features)
            texts = texts[: draw.choice(1, rows)]
            incoming = [10 * draw.normal(len(part)) for part in (images, texts)]
            given = (images, texts, torch.tensor(scale, dtype=dtype))

            def results(function, dtype, given=given, incoming=incoming):
                leaves = [tensor.to(dtype).requires_grad_() for tensor in given]
                values = function(*leaves)
                gradients = [vector.to(dtype) for vector in incoming]
                return *values, *torch.autograd.grad(values, leaves, gradients)

            exact = results(exact_logsumexps, torch.float64)
            one = rounding(scale, rows, dtype)
            weight = one * float(sum(vector.abs().sum() for vector in incoming))
            names = ("rows", "columns", "images' gradient", "texts' gradient", "scale's gradient")
            bounds = (SCALARS * one,) * 2 + (FEATURES * scale * weight,) * 2 + (SCALARS * weight,)
            for backend in usable(images):

                def computed(*leaves, backend=backend):
                    return bidirectional_logsumexp(*leaves, backend=backend)

                actual = results(computed, dtype)
                for name, value, wanted, bound in zip(names, actual, exact, bounds, strict=True):
                    require(value.double() - wanted, bound, f"{name} of {backend}")


def exact_logsumexps(images: Tensor, texts: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    logits = scale * images @ texts.T
    return logits.logsumexp(1), logits.logsumexp(0)
