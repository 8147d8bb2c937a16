"""The loss with its table of logits, in plain autograd: three N x N x D products.

It shows what the loss is, the other back ends are held to it, and it is the fastest for small
batches.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.precision import accumulation_dtype
from selip_core.losses.ranks import Ranks
from selip_core.losses.target import Target, TwoWayTarget
from selip_core.losses.weights import Weights


def logsumexps(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "m d"], logit_scale: Float[Tensor, ""]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Return the log-sum-exp of every row and of every column of the logits."""
    logits = _logits(images, texts, logit_scale)
    return logits.logsumexp(1), logits.logsumexp(0)


def soft_cross_entropy(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""],
    target: TwoWayTarget | None,
    weights: Weights,
    ranks: Ranks,
) -> Float[Tensor, ""]:
    """Return the log-sum-exps of rows and columns less what own pairs and target attract."""
    logits = _logits(image_features, text_features, logit_scale)
    repulsion = weights.repulsion * (logits.logsumexp(1).mean() + logits.logsumexp(0).mean())
    attraction = weights.own * logits.diagonal().mean() + weights.uniform * logits.mean()
    if target is not None:
        with torch.no_grad():
            similarities = target.similarities.dense()
            wanted = similarities / target.row_sums[:, None] + similarities / target.column_sums
        attraction = attraction + weights.similarity / 2 * (wanted * logits).sum() / ranks.total
    return repulsion - attraction


def clamped_loss(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""],
    target: Target,
    align_weight: float,
    similarity_weight: float,
    clamp_eps: float,
) -> Float[Tensor, ""]:
    """Return the paper's total; the gradients of ``clamp`` are the authors' own."""
    logits = _logits(image_features, text_features, logit_scale)
    with torch.no_grad():
        similarities = target.dense()
        row_sums = target.row_sums().clamp(min=clamp_eps)
        wanted = (similarities / row_sums[:, None]).clamp(clamp_eps, 1)
    align = (_cross_entropy(logits) + _cross_entropy(logits.T)) / 2
    divergence = sum(
        (wanted * (wanted.log() - table.softmax(1).clamp(clamp_eps, 1).log())).sum(1).mean()
        for table in (logits, logits.T)
    )
    return align_weight * align + similarity_weight / 2 * divergence


def _logits(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "m d"],
    logit_scale: Float[Tensor, ""],
) -> Float[Tensor, "n m"]:
    dtype = accumulation_dtype(image_features.dtype)
    scale = logit_scale.to(image_features.device, dtype)
    return scale * (image_features.to(dtype) @ text_features.to(dtype).T)


def _cross_entropy(logits: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    return logits.logsumexp(1).mean() - logits.diagonal().mean()
