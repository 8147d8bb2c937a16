"""The CLIP loss softened by the similarity of the reports, as a function."""

from dataclasses import replace
from typing import Literal, overload

import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.losses import checks
from selip_core.losses.agreement import failing_together
from selip_core.losses.backends import backend_name, select_backend
from selip_core.losses.batch import Agreed, Batch, normalised_target
from selip_core.losses.precision import full_precision
from selip_core.losses.statistics import LossAndStatistics, measure
from selip_core.losses.summaries import Summaries
from selip_core.losses.target import Target, TwoWayTarget
from selip_core.losses.weights import Weights


@overload
def similarity_clip_loss(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    logit_bias: Float[Tensor, ""] | float | None = ...,
    target: Target | Float[Tensor, "n m"] | None = ...,
    mask: Bool[Tensor, " n"] | None = ...,
    align_weight: float = ...,
    similarity_weight: float = ...,
    label_smoothing: float = ...,
    clamp_eps: float | None = ...,
    backend: str = ...,
    group: "dist.ProcessGroup | None" = ...,
    average: bool = ...,
    check_finite: bool = ...,
    return_stats: Literal[False] = ...,
) -> Float[Tensor, ""]: ...


@overload
def similarity_clip_loss(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    logit_bias: Float[Tensor, ""] | float | None = ...,
    target: Target | Float[Tensor, "n m"] | None = ...,
    mask: Bool[Tensor, " n"] | None = ...,
    align_weight: float = ...,
    similarity_weight: float = ...,
    label_smoothing: float = ...,
    clamp_eps: float | None = ...,
    backend: str = ...,
    group: "dist.ProcessGroup | None" = ...,
    average: bool = ...,
    check_finite: bool = ...,
    return_stats: Literal[True],
) -> LossAndStatistics: ...


@overload
def similarity_clip_loss(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    logit_bias: Float[Tensor, ""] | float | None = ...,
    target: Target | Float[Tensor, "n m"] | None = ...,
    mask: Bool[Tensor, " n"] | None = ...,
    align_weight: float = ...,
    similarity_weight: float = ...,
    label_smoothing: float = ...,
    clamp_eps: float | None = ...,
    backend: str = ...,
    group: "dist.ProcessGroup | None" = ...,
    average: bool = ...,
    check_finite: bool = ...,
    return_stats: bool,
) -> Float[Tensor, ""] | LossAndStatistics: ...


def similarity_clip_loss(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    logit_bias: Float[Tensor, ""] | float | None = None,
    target: Target | Float[Tensor, "n m"] | None = None,
    mask: Bool[Tensor, " n"] | None = None,
    align_weight: float = 1.0,
    similarity_weight: float = 1.0,
    label_smoothing: float = 0.0,
    clamp_eps: float | None = None,
    backend: str = "auto",
    group: "dist.ProcessGroup | None" = None,
    average: bool = True,
    check_finite: bool = False,
    return_stats: bool = False,
) -> Float[Tensor, ""] | LossAndStatistics:
    r"""Contrastive loss of paired features, softened by how alike the reports are.

    With logits :math:`L = \tau I T'`, similarities :math:`S` with row sums :math:`r` and column
    sums :math:`c`, align weight :math:`a` and similarity weight :math:`b`

    .. math::

        a\,\mathrm{CLIP} + b\,\mathrm{CE} = \frac{a+b}{2N}
        \left[\sum_i \mathrm{lse}_i(L) + \sum_j \mathrm{lse}_j(L')\right]
        - \tau \sum I \odot (M T)

    with

    .. math::

        M = \frac{a}{N}\,1 + \frac{b}{2N}\left(\mathrm{diag}(1/r)\,S + S\,\mathrm{diag}(1/c)\right)

    Cross-entropy and the paper's KL divergence differ by the target's entropy, which has no
    gradient. The target is normalised and detached here. It enters through its products only and
    no table of all pairs is kept, except by ``backend="dense"``, up to 512 rows the default. Sums
    are float32 whatever the features are (float64 for float64).

    Label smoothing by :math:`s` turns every distribution :math:`P` that is trained on, of the own
    pair and of the similarity, into :math:`(1 - s) P + s/N`, as torch's ``cross_entropy`` does.

    Args:
        image_features: One image a row, of unit norm.
        text_features: The text of each image, of unit norm and of the images' type.
        logit_scale: The multiplier of the cosines itself, not its logarithm.
        logit_bias: Added to all logits, as models trained with a sigmoid loss have it. A softmax
            does not depend on it: neither does the loss, and its gradient is exactly 0, which is
            more than none to DistributedDataParallel. Statistics report it.
        target: Raw similarities in [0, 1] of the images' reports (rows) to the texts' (columns), an
            operator of ``selip_core.similarity`` or a table. None: plain CLIP, times
            ``align_weight``. With a group (n of this rank, texts of all ranks in rank order).
        mask: True where image and text are both there; None: everywhere. The others take no part,
            neither as questions nor as answers; what stands in their rows is not looked at, and
            their gradient is 0. ``target`` has them still. Shapes then depend on its values, which
            breaks the graph of ``torch.compile``.
        align_weight: Weight of the own pairs, at least 0.
        similarity_weight: Weight of the target, at least 0. With 0 a target is looked at for
            ``return_stats`` only.
        label_smoothing: Share of every distribution that is spread evenly, in [0, 1). Not with
            ``clamp_eps``.
        clamp_eps: None, or the paper's own total: cross-entropy and KL with target and prediction
            clamped to ``[clamp_eps, 1]``, both directions with row-normalised similarities whose
            sums are at least ``clamp_eps``. The authors train with 1e-3. Not with a group; without
            a target there is nothing to clamp.
        backend: ``"dense"`` keeps the table of logits, ``"chunked"`` recomputes it in blocks of
            rows with ``O(n d + block n)`` memory, ``"triton"`` in kernels for CUDA and ROCm, with
            float32 sums and without ``clamp_eps``. ``"auto"``: dense up to 512 rows, above triton
            where it is usable and else chunked.
        group: The processes that share the batch, each with its own rows, any number of them. None
            never communicates.
        average: With a group, multiply this rank's share by the number of ranks, so that averaged
            gradients (DistributedDataParallel, ``fully_shard``) are those of one process; False:
            shares add up. The gradient of the scale is the same on every rank, averaged or not.
        check_finite: Raise if features, scale or bias hold NaN or infinity; a GPU is waited for. In
            a compiled graph torch raises a RuntimeError.
        return_stats: Return :class:`LossStatistics` as well. With ``"chunked"`` they come from the
            sweep that the loss makes anyway, and change no bit of it; other back ends sweep once
            more. With a group texts are gathered once more. Not with ``clamp_eps``.

    Returns:
        The loss, in float32 (float64 for float64 features), or with ``return_stats`` the pair
        ``(loss, statistics)``. The loss has no second derivative, except with
        ``backend="dense"``.

    Raises:
        ValueError: If shapes, types or devices do not fit, the bias is not finite, ``group`` is no
            group of this process, a weight, ``label_smoothing`` or ``clamp_eps`` is out of range or
            does not go with another argument, the back end is unknown or cannot do what is asked,
            no pair is there or left by the mask, or the target has a negative value or an empty row
            or column. With a group, what is wrong on one rank is an error on all of them. So are
            ranks that differ in a setting, in the scale or in the bias; the message names it.

    Example:
        >>> import torch
        >>> features = torch.eye(2)
        >>> clip = similarity_clip_loss(features, features, 10.0)
        >>> reports_alike = torch.ones(2, 2)
        >>> soft = similarity_clip_loss(features, features, 10.0, target=reports_alike)
        >>> print(f"{clip:.4f} {soft:.4f}")
        0.0000 5.0001

    Source: SeLIP, arXiv 2503.19801. The paper's total is had with ``clamp_eps``; without it nothing
    is clamped, and the columns of an asymmetric target are normalised as columns.
    """
    checks.check_group(group)
    with failing_together(group):
        checks.check_weights(align_weight, similarity_weight)
        checks.check_clamp(clamp_eps, group)
        checks.check_label_smoothing(label_smoothing, clamp_eps)
        checks.check_statistics(return_stats, clamp_eps)
        batch = Batch.checked(
            image_features, text_features, logit_scale, logit_bias, target, mask, group
        )
        across, clamped = group is not None, clamp_eps is not None
        select_backend(backend, 1, image_features, across_processes=across, clamped=clamped)
        if check_finite:
            batch.check_finite()
        if similarity_weight == 0 and not return_stats:
            batch = replace(batch, target=None)
    agreed = batch.agreed(
        group,
        align_weight=float(align_weight),
        similarity_weight=float(similarity_weight),
        label_smoothing=float(label_smoothing),
        average=bool(average),
        return_stats=bool(return_stats),
        backend=backend_name(backend, image_features) if across else backend,
    )
    with full_precision(image_features):
        if clamp_eps is not None and agreed.batch.target is not None:
            return _clamped(agreed, align_weight, similarity_weight, clamp_eps, backend)
        weights = Weights.of(
            align_weight, similarity_weight if target is not None else 0.0, label_smoothing
        )
        two_way = normalised_target(agreed)
        trained_on = two_way if weights.similarity else None
        summaries = _summaries(agreed) if return_stats else None
        loss = _soft_cross_entropy(agreed, trained_on, weights, backend, summaries)
        if average:
            loss = loss * len(agreed.ranks.sizes)
        if summaries is None:
            return loss
        bias, ranks = agreed.batch.logit_bias, agreed.ranks
        return LossAndStatistics(loss, measure(summaries, bias, two_way, label_smoothing, ranks))


def _summaries(agreed: Agreed) -> Summaries:
    batch = agreed.batch
    return Summaries.of(batch.image_features, batch.text_features, batch.logit_scale, agreed.ranks)


def _soft_cross_entropy(
    agreed: Agreed,
    target: TwoWayTarget | None,
    weights: Weights,
    backend: str,
    summaries: Summaries | None,
) -> Tensor:
    batch, ranks = agreed.batch, agreed.ranks
    across = ranks.group is not None
    chosen = select_backend(backend, ranks.total, batch.image_features, across_processes=across)
    known = {}
    if summaries is not None and chosen.goes_on:
        known["logsumexps"] = summaries.logsumexps
    loss = chosen.soft_cross_entropy(
        batch.image_features,
        batch.text_features,
        batch.logit_scale,
        target,
        weights,
        ranks,
        **known,
    )
    return _with_bias(loss, batch)


def _clamped(
    agreed: Agreed,
    align_weight: float,
    similarity_weight: float,
    clamp_eps: float,
    backend: str,
) -> Tensor:
    batch, target = agreed.batch, agreed.batch.target
    assert target is not None
    rows, features = agreed.ranks.total, batch.image_features
    chosen = select_backend(backend, rows, features, across_processes=False, clamped=True)
    assert chosen.clamped_loss is not None
    loss = chosen.clamped_loss(
        batch.image_features,
        batch.text_features,
        batch.logit_scale,
        checks.check_tiles(target) if chosen.tiles else target,
        align_weight,
        similarity_weight,
        clamp_eps,
    )
    return _with_bias(loss, batch)


def _with_bias(loss: Tensor, batch: Batch) -> Tensor:
    """Let the bias have a gradient, which is 0."""
    return loss if batch.logit_bias is None else loss + 0 * batch.logit_bias.to(loss)
