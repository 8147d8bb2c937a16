"""The paper's own total, cross-entropy and a KL divergence with clamps, exact and in blocks.

The authors clamp both the target and the prediction to ``[eps, 1]``, which stops the gradient of
the KL once features align. It is here for parity and for the study of evidence.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.losses.chunked import (
    add_products,
    empty_sums,
    logits_of,
    logsumexps,
    row_blocks,
)
from selip_core.losses.derivative import first_derivative_only
from selip_core.losses.precision import accumulation_dtype, full_precision, working
from selip_core.losses.target import TiledTarget
from selip_core.losses.wanted import Wanted

# Logits, target, prediction, mask and their temporaries, of two directions.
TILES_ALIVE = 8


def clamped_loss(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""],
    target: TiledTarget,
    align_weight: float,
    similarity_weight: float,
    clamp_eps: float,
) -> Float[Tensor, ""]:
    """Return ``align_weight CE + similarity_weight (k(L) + k(L'))/2``.

    ``k(L) = mean over rows of sum P~ (log P~ - log q~)``, ``P~`` and ``q~`` the clamped targets and
    predictions. Both directions take the row-normalised similarities.
    """
    loss: Tensor = _ClampedLoss.apply(  # type: ignore[no-untyped-call]
        image_features,
        text_features,
        logit_scale,
        target,
        align_weight,
        similarity_weight,
        clamp_eps,
    )
    return loss


def clamped_target(
    similarities: Float[Tensor, "r c"], row_sums: Float[Tensor, "r 1"], clamp_eps: float
) -> Float[Tensor, "r c"]:
    """Return ``clamp(S / max(row sum, eps), eps, 1)``, which is not normalised again."""
    return (similarities / row_sums.clamp(min=clamp_eps)).clamp(clamp_eps, 1)


def target_tiles(
    target: TiledTarget, row_sums: Float[Tensor, " n"], block: slice, clamp_eps: float
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Return what these images want of all texts, and what all texts want of these images."""
    everything = slice(0, len(row_sums))
    of_images = target.tile(block, everything)
    of_texts = target.tile(everything, block)
    return (
        clamped_target(of_images, row_sums[block, None], clamp_eps),
        clamped_target(of_texts, row_sums[:, None], clamp_eps).T,
    )


def divergence(
    target: Float[Tensor, "b n"], log_prediction: Float[Tensor, "b n"], clamp_eps: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "b n"]]:
    """Return the summed divergence of a tile, and the targets whose prediction has a gradient."""
    floor = math.log(clamp_eps)
    summed = (target * (target.log() - log_prediction.clamp(floor, 0))).sum()
    return summed, target * _above(log_prediction, clamp_eps)


def _above(log_prediction: Float[Tensor, "b n"], clamp_eps: float) -> Bool[Tensor, "b n"]:
    return log_prediction >= math.log(clamp_eps)


class _ClampedLoss(torch.autograd.Function):
    """Three sweeps: log-sum-exps, divergences with the masked target sums, gradients.

    With ``A`` the targets whose prediction is at least ``eps`` and ``alpha`` their sums, one
    direction's ``N dk/dL`` is ``alpha q - A``. All of it stands in the tile before it is rounded.
    """

    @staticmethod
    def forward(
        ctx: Any,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        target: TiledTarget,
        align_weight: float,
        similarity_weight: float,
        clamp_eps: float,
    ) -> Tensor:
        images, texts = working(image_features), working(text_features)
        scale = logit_scale.to(images.device, accumulation_dtype(images.dtype))
        rows, columns = logsumexps(images, texts, scale)
        row_sums = target.row_sums()
        row_mass, column_mass = torch.zeros_like(rows), torch.zeros_like(columns)
        summed = torch.zeros_like(scale)
        for block in row_blocks(images, texts, TILES_ALIVE):
            logits = logits_of(images[block], texts, scale)
            of_images, of_texts = target_tiles(target, row_sums, block, clamp_eps)
            by_row, kept = divergence(of_images, logits - rows[block, None], clamp_eps)
            row_mass[block] = kept.sum(1)
            by_column, kept = divergence(of_texts, logits - columns, clamp_eps)
            column_mass += kept.sum(0)
            summed += by_row + by_column
        row_weight = (align_weight + similarity_weight * row_mass) / 2
        column_weight = (align_weight + similarity_weight * column_mass) / 2
        ctx.save_for_backward(
            *(image_features, text_features, logit_scale),
            *(row_sums, rows, columns, row_weight, column_weight),
        )
        ctx.target, ctx.weights = target, (align_weight, similarity_weight, clamp_eps)
        own_logits = scale * (images.to(scale.dtype) * texts).sum()
        align = (rows.sum() + columns.sum()) / 2 - own_logits
        return (align_weight * align + similarity_weight / 2 * summed) / len(images)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image_features, text_features, logit_scale, row_sums, *sweep = ctx.saved_tensors
        align_weight, similarity_weight, clamp_eps = ctx.weights
        wanted = Wanted.of(ctx)
        with full_precision(image_features):
            images, texts = working(image_features), working(text_features)
            scale = logit_scale.to(row_sums)
            image_products = empty_sums(images, wanted.of_images)
            text_products = empty_sums(texts, wanted.of_texts)
            for block in row_blocks(images, texts, TILES_ALIVE):
                targets = target_tiles(ctx.target, row_sums, block, clamp_eps)
                logits = logits_of(images[block], texts, scale)
                tile = _gradient_tile(logits, block, targets, sweep, similarity_weight, clamp_eps)
                tile.diagonal(block.start).sub_(align_weight)
                add_products(tile, block, images, texts, image_products, text_products)
            factor = gradient / len(images)
            scale_gradient = factor * wanted.scale_gradient(
                images, texts, image_products, text_products
            )
            gradients = wanted.only(
                image_products.mul_(factor * scale).to(image_features.dtype),
                text_products.mul_(factor * scale).to(text_features.dtype),
                scale_gradient.to(logit_scale),
            )
        return *gradients, *[None] * 4


def _gradient_tile(
    logits: Float[Tensor, "b n"],
    block: slice,
    targets: tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]],
    sweep: list[Float[Tensor, " n"]],
    similarity_weight: float,
    clamp_eps: float,
) -> Float[Tensor, "b n"]:
    """Return N times the gradient with respect to one block of logits, without the own pairs."""
    rows, columns, row_weight, column_weight = sweep
    of_images, of_texts = targets
    by_row, by_column = logits - rows[block, None], logits.sub_(columns)
    of_images *= _above(by_row, clamp_eps)
    of_images += of_texts * _above(by_column, clamp_eps)
    tile = by_row.exp_().mul_(row_weight[block, None]).add_(by_column.exp_().mul_(column_weight))
    return tile.sub_(of_images, alpha=similarity_weight / 2)
