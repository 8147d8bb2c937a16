"""Errors of gradients in low precision, by the place where attraction and repulsion meet.

Run: ``python benchmarks/loss_precision.py``; it takes a minute on one core. At convergence the two
nearly cancel, and what is rounded before they meet is what is left. Compared with float64 on the
same rounded features, in matrix units' arithmetic: features and tiles are low, sums are float32.

- ``two gradients``: each rounded to the features' precision, then added, as autograd does;
- ``one sum``: both added up in float32 and rounded once; the tile holds the softmaxes;
- ``own pairs in the tile``: the same, the own pairs taken out of the tile before it is rounded,
  which is what :func:`selip_core.losses.similarity_clip_loss` does;
- ``dense``: the table of logits in low precision, differentiated by autograd.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from loss_formulas import SCALE
from results import write_result
from selip_core.losses import chunked, similarity_clip_loss

ROWS, WIDTH = 512, 64
STEPS, LEARNING_RATE = 400, 0.03
SEED = 0
# Reports come in pairs that say the same.
LABELS = torch.arange(ROWS) // 2
TARGETS: dict[str, Tensor | None] = {
    "plain CLIP": None,
    "with a target": (LABELS[:, None] == LABELS).float(),
}
DTYPES = (torch.bfloat16, torch.float16)

Gradients = tuple[Tensor, Tensor]
Pair = tuple[Tensor, Tensor]


def two_gradients(images: Tensor, texts: Tensor, target: Tensor | None) -> Gradients:
    """Round repulsion and attraction each, and add."""
    repulsion = repelled(images, texts, target, own_weight=0.0)
    attraction = attracted(images, texts, target, own_weight=1.0)
    first, second = (
        to_gradient(pushed, images.dtype) - to_gradient(pulled, images.dtype)
        for pushed, pulled in zip(repulsion, attraction, strict=True)
    )
    return first, second


def one_sum(images: Tensor, texts: Tensor, target: Tensor | None) -> Gradients:
    """Add both up in float32 and round once."""
    return met(images, texts, target, own_weight=0.0)


def own_pairs_in_the_tile(images: Tensor, texts: Tensor, target: Tensor | None) -> Gradients:
    """Take the own pairs out of the tile before it is rounded."""
    return met(images, texts, target, own_weight=1.0)


def met(images: Tensor, texts: Tensor, target: Tensor | None, own_weight: float) -> Gradients:
    """Return gradients whose tile holds this much of the own pairs; the rest is in float32."""
    repulsion = repelled(images, texts, target, own_weight)
    attraction = attracted(images, texts, target, 1.0 - own_weight)
    first, second = (
        to_gradient(pushed - pulled, images.dtype)
        for pushed, pulled in zip(repulsion, attraction, strict=True)
    )
    return first, second


def repelled(images: Tensor, texts: Tensor, target: Tensor | None, own_weight: float) -> Pair:
    """Return the products of the softmaxes less ``own_weight`` of the own pairs, in float32."""
    scale, weight = torch.tensor(SCALE), 0.5 if target is None else 1.0
    rows, columns = chunked.logsumexps(images, texts, scale)
    of_rows, of_columns = (torch.full_like(sums, weight) for sums in (rows, columns))
    return chunked.gradient_products(
        images, texts, scale, rows, columns, of_rows, of_columns, own_weight, first_own=0
    )


def attracted(images: Tensor, texts: Tensor, target: Tensor | None, own_weight: float) -> Pair:
    """Return the products of own pairs and target, in float32."""
    wide_images, wide_texts = images.float(), texts.float()
    pulled_images, pulled_texts = own_weight * wide_texts, own_weight * wide_images
    if target is None:
        return pulled_images, pulled_texts
    two_way = (target / target.sum(1, keepdim=True) + target / target.sum(0)) / 2
    return pulled_images + two_way @ wide_texts, pulled_texts + two_way.T @ wide_images


def to_gradient(products: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the gradient that products of the tile give, rounded."""
    return (SCALE / ROWS * products).to(dtype)


def dense(images: Tensor, texts: Tensor, target: Tensor | None) -> Gradients:
    """Differentiate the loss as it is written by hand."""
    leaves = [x.detach().requires_grad_() for x in (images, texts)]
    logits = SCALE * (leaves[0] @ leaves[1].T).float()
    weight = 0.5 if target is None else 1.0
    wanted = torch.eye(ROWS)
    if target is not None:
        wanted = wanted + (target / target.sum(1, keepdim=True) + target / target.sum(0)) / 2
    repulsion = weight * (logits.logsumexp(1).mean() + logits.logsumexp(0).mean())
    first, second = torch.autograd.grad(repulsion - (wanted * logits).sum() / ROWS, leaves)
    return first, second


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor | None], Gradients]] = {
    "two gradients": two_gradients,
    "one sum": one_sum,
    "own pairs in the tile": own_pairs_in_the_tile,
    "dense": dense,
}


def random_features() -> Pair:
    """Return features as they are before training."""
    generator = torch.Generator().manual_seed(SEED)
    images, texts = (torch.randn(ROWS, WIDTH, generator=generator) for _ in range(2))
    return normalize(images, dim=1), normalize(texts, dim=1)


def converged_features(target: Tensor | None) -> Pair:
    """Return features that were trained in float32, each a parameter of its own."""
    leaves = [x.requires_grad_() for x in random_features()]
    optimizer = torch.optim.Adam(leaves, lr=LEARNING_RATE)
    for _ in range(STEPS):
        images, texts = (normalize(leaf, dim=1) for leaf in leaves)
        optimizer.zero_grad()
        similarity_clip_loss(images, texts, SCALE, target=target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    images, texts = (normalize(leaf.detach(), dim=1) for leaf in leaves)
    return images, texts


def errors(features: Pair, target: Tensor | None, dtype: torch.dtype) -> dict[str, float]:
    """Return for each way the norm of the error of both gradients over that of the gradients."""
    images, texts = (x.to(dtype) for x in features)
    exact_images, exact_texts = (x.double().requires_grad_() for x in (images, texts))
    loss = similarity_clip_loss(exact_images, exact_texts, SCALE, target=target, backend="dense")
    exact = torch.cat(torch.autograd.grad(loss, (exact_images, exact_texts)))
    found = {}
    for name, way in WAYS.items():
        actual = torch.cat(way(images, texts, target)).double()
        found[name] = float((actual - exact).norm() / exact.norm())
    return found


def measure() -> list[dict[str, Any]]:
    """Return a row for each target, kind of features and precision."""
    rows = []
    for name, target in TARGETS.items():
        kinds = {"random": random_features(), "converged": converged_features(target)}
        for kind, features in kinds.items():
            for dtype in DTYPES:
                row = {"loss": name, "features": kind, "dtype": str(dtype).removeprefix("torch.")}
                rows.append({**row, "errors": errors(features, target, dtype)})
                print(rows[-1])
    return rows


def main() -> None:
    """Measure, print, write."""
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    setting = {"rows": ROWS, "width": WIDTH, "steps": STEPS, "seed": SEED, "logit_scale": SCALE}
    print(write_result("loss_precision", {**setting, "results": measure()}).name)


if __name__ == "__main__":
    main()
