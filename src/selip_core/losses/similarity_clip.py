"""The CLIP loss softened by the similarity of the reports: what users call."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from selip_core.losses import checks
from selip_core.losses.backends import Backend, select_backend
from selip_core.losses.precision import accumulation_dtype, full_precision
from selip_core.losses.ranks import Ranks
from selip_core.losses.target import Target, TwoWayTarget


def similarity_clip_loss(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    target: Target | Float[Tensor, "n m"] | None = None,
    align_weight: float = 1.0,
    similarity_weight: float = 1.0,
    clamp_eps: float | None = None,
    backend: str = "auto",
    group: "dist.ProcessGroup | None" = None,
    average: bool = True,
    check_finite: bool = False,
) -> Float[Tensor, ""]:
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
    gradient. The target is normalised and detached here. Above 512 rows, or with
    ``backend="chunked"``, it enters through its products only and no table of all pairs is kept.
    Sums are float32 whatever the features are (float64 for float64).

    Args:
        image_features: One image a row, of unit norm.
        text_features: The text of each image, of unit norm and of the images' type.
        logit_scale: The multiplier of the cosines itself, not its logarithm.
        target: Raw similarities in [0, 1] of the images' reports (rows) to the texts' (columns), an
            operator of ``selip_core.similarity`` or a table. None: plain CLIP, times
            ``align_weight``. With a group (n of this rank, texts of all ranks in rank order).
        align_weight: Weight of the own pairs, at least 0.
        similarity_weight: Weight of the target, at least 0.
        clamp_eps: None, or the paper's own total: cross-entropy and KL with target and prediction
            clamped to ``[clamp_eps, 1]``, both directions with row-normalised similarities whose
            sums are at least ``clamp_eps``. The authors train with 1e-3. Not with a group; without
            a target there is nothing to clamp.
        backend: ``"dense"`` keeps the table of logits, ``"chunked"`` recomputes it in blocks of
            rows with ``O(n d + block n)`` memory. ``"auto"``: dense up to 512 rows.
        group: The processes that share the batch, each with its own rows, any number of them. None
            never communicates.
        average: With a group, multiply this rank's share by the number of ranks, so that averaged
            gradients (DistributedDataParallel) are those of one process; False: shares add up.
        check_finite: Raise if features or scale hold NaN or infinity.

    Returns:
        The loss, in float32 (float64 for float64 features). It has no second derivative, except
        with ``backend="dense"``.

    Raises:
        ValueError: If shapes, types or devices do not fit, a weight or ``clamp_eps`` is out of
            range, the back end is unknown or cannot do what is asked, the batch is empty, or the
            target has a negative value or an empty row or column.

    Example:
        >>> features = torch.eye(2)
        >>> clip = similarity_clip_loss(features, features, 10.0)
        >>> reports_alike = torch.ones(2, 2)
        >>> soft = similarity_clip_loss(features, features, 10.0, target=reports_alike)
        >>> print(f"{clip:.4f} {soft:.4f}")
        0.0000 5.0001

    Source: SeLIP, arXiv 2503.19801. The paper's total is had with ``clamp_eps``; without it nothing
    is clamped, and the columns of an asymmetric target are normalised as columns.
    """
    checks.check_features(image_features, text_features)
    checks.check_weights(align_weight, similarity_weight)
    checks.check_clamp(clamp_eps, group)
    scale = checks.scalar(logit_scale, image_features)
    if check_finite:
        checks.check_all_finite(
            image_features=image_features, text_features=text_features, logit_scale=scale
        )
    ranks = Ranks.of(image_features, group)
    checks.check_rows(ranks.total)
    chosen = select_backend(backend, ranks.total, across_processes=group is not None)
    features = (image_features, text_features, scale)
    with full_precision(image_features):
        if target is None:
            loss = chosen.soft_cross_entropy(*features, None, align_weight, 0.0, ranks)
        else:
            similarities = _prepared(target, image_features, ranks)
            weights = align_weight, similarity_weight
            if clamp_eps is not None:
                return _clamped(chosen, *features, similarities, *weights, clamp_eps)
            two_way = _normalised(similarities, ranks)
            loss = chosen.soft_cross_entropy(*features, two_way, *weights, ranks)
        return loss * len(ranks.sizes) if average else loss


class SimilarityCLIPLoss(nn.Module):
    """The settings of :func:`similarity_clip_loss`; called as open_clip's ``ClipLoss``.

    Args:
        align_weight: Weight of the own pairs, at least 0.
        similarity_weight: Weight of the target, at least 0.
        clamp_eps: None, or the paper's clamp in (0, 1).
        backend: ``"auto"``, ``"chunked"`` or ``"dense"``.
        average: With a group, whether averaged gradients are those of one process.
        check_finite: Raise if features or scale hold NaN or infinity.

    Raises:
        ValueError: If a weight or ``clamp_eps`` is out of range, or the back end is unknown.

    Example:
        >>> loss_fn = SimilarityCLIPLoss(similarity_weight=0.5)
        >>> features = nn.functional.normalize(torch.randn(4, 8), dim=1).requires_grad_()
        >>> loss = loss_fn(features, features.detach(), 10.0, target=torch.eye(4))
        >>> loss.backward()
    """

    def __init__(
        self,
        align_weight: float = 1.0,
        similarity_weight: float = 1.0,
        clamp_eps: float | None = None,
        backend: str = "auto",
        average: bool = True,
        check_finite: bool = False,
    ) -> None:
        super().__init__()
        checks.check_weights(align_weight, similarity_weight)
        checks.check_clamp(clamp_eps, None)
        select_backend(backend, 1, across_processes=False)
        self.align_weight = align_weight
        self.similarity_weight = similarity_weight
        self.clamp_eps = clamp_eps
        self.backend = backend
        self.average = average
        self.check_finite = check_finite

    def forward(
        self,
        image_features: Float[Tensor, "n d"],
        text_features: Float[Tensor, "n d"],
        logit_scale: Float[Tensor, ""] | float,
        *,
        target: Target | Float[Tensor, "n m"] | None = None,
        group: "dist.ProcessGroup | None" = None,
        output_dict: bool = False,
    ) -> Tensor | dict[str, Tensor]:
        """Return the loss, or ``{"contrastive_loss": loss}`` with ``output_dict``.

        Arguments and errors are those of :func:`similarity_clip_loss`.
        """
        loss = similarity_clip_loss(
            image_features,
            text_features,
            logit_scale,
            target=target,
            align_weight=self.align_weight,
            similarity_weight=self.similarity_weight,
            clamp_eps=self.clamp_eps,
            backend=self.backend,
            group=group,
            average=self.average,
            check_finite=self.check_finite,
        )
        return {"contrastive_loss": loss} if output_dict else loss

    def extra_repr(self) -> str:
        """Return the settings, for ``print``."""
        return (
            f"align_weight={self.align_weight}, similarity_weight={self.similarity_weight}, "
            f"clamp_eps={self.clamp_eps}, backend={self.backend!r}, "
            f"average={self.average}, check_finite={self.check_finite}"
        )


def _prepared(target: Target | Tensor, features: Tensor, ranks: Ranks) -> Target:
    """Return the target as an operator in the accumulation type."""
    operator = checks.as_target(target, (len(features), ranks.total), features)
    return operator.to(features.device, accumulation_dtype(features.dtype))


@torch.no_grad()
def _normalised(similarities: Target, ranks: Ranks) -> TwoWayTarget:
    """Return the target with its sums; a row that cannot be normalised fails on every rank."""
    row_sums, column_sums = similarities.row_sums(), ranks.sum(similarities.column_sums())
    checks.check_sums(ranks.all(_positive(row_sums)), "row")
    checks.check_sums(ranks.all(_positive(column_sums)), "column")
    return TwoWayTarget(similarities, row_sums, column_sums)


def _positive(sums: Tensor) -> Tensor:
    return ((sums > 0) & sums.isfinite()).all()


def _clamped(
    backend: Backend,
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    similarities: Target,
    align_weight: float,
    similarity_weight: float,
    clamp_eps: float,
) -> Tensor:
    tiled = checks.check_tiles(similarities) if backend.tiles else similarities
    return backend.clamped_loss(
        image_features,
        text_features,
        logit_scale,
        tiled,
        align_weight,
        similarity_weight,
        clamp_eps,
    )
