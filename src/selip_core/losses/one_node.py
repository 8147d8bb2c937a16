"""The loss as one autograd node: two log-sum-exps and one product, nothing N x N kept."""

from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.derivative import first_derivative_only
from selip_core.losses.precision import accumulation_dtype, full_precision, working
from selip_core.losses.ranks import Ranks
from selip_core.losses.target import TwoWayTarget
from selip_core.losses.wanted import Wanted
from selip_core.losses.weights import Weights

Logsumexps = tuple[Float[Tensor, " n"], Float[Tensor, " m"]]


class Sweeps(Protocol):
    """What a back end computes over all pairs; ``selip_core.losses.chunked`` describes both."""

    def logsumexps(
        self,
        images: Float[Tensor, "n d"],
        texts: Float[Tensor, "m d"],
        logit_scale: Float[Tensor, ""],
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
        """Return the log-sum-exp of every row and column."""

    def gradient_products(
        self,
        images: Float[Tensor, "n d"],
        texts: Float[Tensor, "m d"],
        logit_scale: Float[Tensor, ""],
        rows: Float[Tensor, " n"],
        columns: Float[Tensor, " m"],
        row_weights: Float[Tensor, " n"],
        column_weights: Float[Tensor, " m"],
        own_weight: float,
        first_own: int,
        of_images: bool = True,
        of_texts: bool = True,
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
        """Return the products of the softmaxes less the own pairs with texts and images."""


def soft_cross_entropy(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""],
    target: TwoWayTarget | None,
    weights: Weights,
    ranks: Ranks,
    *,
    sweeps: Sweeps,
    logsumexps: Logsumexps | None = None,
) -> Float[Tensor, ""]:
    """Return this process's share of the loss; the shares of all ranks add up to it.

    Args:
        image_features: Of this rank.
        text_features: Of this rank.
        logit_scale: The multiplier.
        target: None where it has no weight.
        weights: Of the parts.
        ranks: Who holds what.
        sweeps: What computes.
        logsumexps: Of this rank's rows and of the columns of all ranks, where they are known; None:
            sweep for them.
    """
    loss: Tensor = _SoftCrossEntropy.apply(  # type: ignore[no-untyped-call]
        image_features,
        text_features,
        logit_scale,
        target,
        weights,
        ranks,
        sweeps,
        logsumexps,
    )
    return loss


class _SoftCrossEntropy(torch.autograd.Function):
    """The node.

    ``w, a, b, u`` are the weights in the order of :class:`Weights`, ``Q`` the two-way target, ``N``
    the texts of all ranks and ``1`` the matrix of ones.

    Value: ``(w [sum lse_rows + sum lse_columns] - tau sum(I * (a T + b Q T + u/N 1 T))) / N``.
    Gradient of the logits: ``G = (w (P_rows + P_columns) - a identity - b Q - u/N 1) / N``;
    ``dI = tau G T``, ``dT = tau G' I``, ``dtau = sum(I * (G T))``.
    The division by ``N`` comes last: ``p/N`` would underflow in float16.
    """

    @staticmethod
    def forward(
        ctx: Any,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        target: TwoWayTarget | None,
        weights: Weights,
        ranks: Ranks,
        sweeps: Sweeps,
        logsumexps: Logsumexps | None,
    ) -> Tensor:
        dtype = accumulation_dtype(image_features.dtype)
        images, texts = working(image_features), working(ranks.gather(text_features))
        scale = logit_scale.to(images.device, dtype)
        if logsumexps is None:
            rows, columns = sweeps.logsumexps(images, texts, scale)
            columns = ranks.logsumexp(columns)
        else:
            rows, columns = logsumexps
        pull = None
        if target is not None:
            pull = images.new_zeros(images.shape, dtype=dtype)
            target.add_matmul(pull, texts, weights.similarity)
        attraction = weights.own * texts[ranks.own].to(dtype)
        if pull is not None:
            attraction += pull
        if weights.uniform:
            attraction += weights.uniform * texts.mean(0, dtype=dtype)
        # The text features only so that their second derivative is refused.
        inputs = image_features, text_features, logit_scale
        kept_pull = pull if Wanted.of(ctx).of_images else None
        ctx.save_for_backward(*inputs, texts, rows, columns, kept_pull)
        ctx.target, ctx.weights, ctx.ranks, ctx.sweeps = target, weights, ranks, sweeps
        repulsion = weights.repulsion * (rows.sum() + columns[ranks.own].sum())
        return (repulsion - scale * attraction.mul_(images).sum()) / ranks.total

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image_features, _, logit_scale, texts, rows, columns, pull = ctx.saved_tensors
        weights, ranks, wanted = ctx.weights, ctx.ranks, Wanted.of(ctx)
        with full_precision(texts):
            images, scale = working(image_features), logit_scale.to(rows)
            repulsions = (torch.full_like(sums, weights.repulsion) for sums in (rows, columns))
            image_products, text_products = ctx.sweeps.gradient_products(
                *(images, texts, scale, rows, columns, *repulsions),
                *(weights.own, ranks.own.start, wanted.of_images, wanted.of_texts),
            )
            if pull is not None:
                image_products -= pull
            if ctx.target is not None and wanted.of_texts:
                ctx.target.add_rmatmul(text_products, images, -weights.similarity)
            if weights.uniform:
                image_products -= weights.uniform * texts.mean(0, dtype=rows.dtype)
                text_products -= weights.uniform / ranks.total * images.sum(0, dtype=rows.dtype)
            factor = gradient / ranks.total
            scale_gradient = factor * wanted.scale_gradient(
                images, texts, image_products, text_products
            )
            if wanted.logit_scale:
                # The mean is what ranks that average, that add up and that do neither agree on.
                scale_gradient = ranks.mean(scale_gradient)
            if wanted.texts:
                text_products = ranks.scatter_sum(text_products)
            gradients = wanted.only(
                image_products.mul_(factor * scale).to(image_features.dtype),
                text_products.mul_(factor * scale).to(image_features.dtype),
                scale_gradient.to(logit_scale),
            )
        return *gradients, *[None] * 5
