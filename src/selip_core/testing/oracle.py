"""The loss as its definition reads: cross-entropies with tables of all pairs, in plain autograd."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from selip_core.losses import Target
from selip_core.losses.precision import accumulation_dtype
from selip_core.testing.value_and_gradients import ValueAndGradients, value_and_gradients


def oracle(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    **options: Any,
) -> ValueAndGradients:
    """Return the loss and its gradients in float64, at exactly the numbers that come in.

    A scale that is no tensor is taken as the loss takes it, rounded to the type of the sums.

    Args:
        image_features: One image a row, on any device and of any floating type.
        text_features: The text of each image.
        logit_scale: The multiplier of the products itself, not its logarithm.
        options: Keyword arguments of :func:`oracle_loss`.

    Example:
        >>> result = oracle(torch.eye(2).bfloat16(), torch.eye(2).bfloat16(), 2.0)
        >>> f"{result.loss:.6f}", result.image_features.dtype
        ('0.126928', torch.float64)
    """
    if not isinstance(logit_scale, Tensor):
        dtype = accumulation_dtype(image_features.dtype)
        logit_scale = torch.tensor(logit_scale, dtype=dtype, device=image_features.device)
    given = (image_features, text_features, logit_scale)
    return value_and_gradients(oracle_loss, *(x.double() for x in given), **options)


def oracle_loss(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    logit_bias: Float[Tensor, ""] | float = 0.0,
    target: Target | Float[Tensor, "n n"] | None = None,
    mask: Bool[Tensor, " n"] | None = None,
    align_weight: float = 1.0,
    similarity_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    r"""Return the loss in float64, whatever comes in; differentiable, and twice.

    With logits :math:`L = \tau I T' + \beta`, similarities :math:`S` with row sums :math:`r` and
    column sums :math:`c`, and :math:`\mathrm{CE}` the mean cross-entropy of the rows

    .. math::

        \tfrac{a}{2} \left[\mathrm{CE}(L, 1) + \mathrm{CE}(L', 1)\right]
        + \tfrac{b}{2} \left[\mathrm{CE}(L, \mathrm{diag}(1/r)\,S)
        + \mathrm{CE}(L', \mathrm{diag}(1/c)\,S')\right]

    by torch's own ``cross_entropy``. It shares no code with
    :func:`~selip_core.losses.similarity_clip_loss`, whose arguments it has, and keeps tables of
    ``n`` times ``n``: for a few thousand rows.

    Args:
        image_features: One image a row, on any device and of any floating type.
        text_features: The text of each image.
        logit_scale: The multiplier of the products itself, not its logarithm.
        logit_bias: Added to all logits.
        target: Non-negative similarities, a table or what has one; detached. None is plain CLIP.
        mask: True where a pair is there.
        align_weight: ``a``.
        similarity_weight: ``b``; without a target it counts nothing.
        label_smoothing: Share of every target that is spread evenly, in [0, 1).

    Example:
        >>> loss = oracle_loss(torch.eye(2), torch.eye(2), 2.0, target=torch.ones(2, 2))
        >>> f"{loss:.6f}"  # log(e^2 + 1) - 2 of the own pairs, log(e^2 + 1) - 1 of the target
        '1.253856'
    """
    if target is not None:
        target = target if isinstance(target, Tensor) else target.dense()
        target = target.detach().to(image_features.device, torch.float64)
    logits = logit_scale * (image_features.double() @ text_features.double().T) + logit_bias
    weights = (align_weight, similarity_weight)
    return _both_ways(*_kept(logits, target, mask), *weights, label_smoothing)


def textbook_loss(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    target: Float[Tensor, "n n"] | None = None,
) -> Float[Tensor, ""]:
    """Return the loss as it is usually written by hand: the dense computation in a low precision.

    The product of the features is rounded to their type, all else is float32 (float64 for
    float64), and autograd gives the gradients. Its error is what others are compared with.

    Example:
        >>> loss = textbook_loss(torch.eye(2).bfloat16(), torch.eye(2).bfloat16(), 2.0)
        >>> loss.dtype, f"{loss:.6f}"
        (torch.float32, '0.126928')
    """
    dtype = accumulation_dtype(image_features.dtype)
    logits = logit_scale * (image_features @ text_features.T).to(dtype)
    return _both_ways(logits, None if target is None else target.to(logits), 1.0, 1.0, 0.0)


def oracle_logsumexps(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "m d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    logit_bias: Float[Tensor, ""] | float = 0.0,
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Return the log-sum-exps of all rows and columns in float64, by the table of logits.

    What :func:`~selip_core.losses.bidirectional_logsumexp` gives.

    Example:
        >>> rows, columns = oracle_logsumexps(torch.eye(2), torch.zeros(3, 2), 10.0)
        >>> [round(row, 6) for row in rows.exp().tolist()]
        [3.0, 3.0]
        >>> columns.dtype
        torch.float64
    """
    logits = logit_scale * (image_features.double() @ text_features.double().T) + logit_bias
    return logits.logsumexp(1), logits.logsumexp(0)


def _kept(
    logits: Float[Tensor, "n n"],
    target: Float[Tensor, "n n"] | None,
    mask: Bool[Tensor, " n"] | None,
) -> tuple[Float[Tensor, "k k"], Float[Tensor, "k k"] | None]:
    if mask is None:
        return logits, target
    return logits[mask][:, mask], None if target is None else target[mask][:, mask]


def _both_ways(
    logits: Float[Tensor, "n n"],
    target: Float[Tensor, "n n"] | None,
    align_weight: float,
    similarity_weight: float,
    label_smoothing: float,
) -> Float[Tensor, ""]:
    loss = align_weight * _one_way(logits, None, label_smoothing) / 2
    loss = loss + align_weight * _one_way(logits.T, None, label_smoothing) / 2
    if target is not None:
        loss = loss + similarity_weight * _one_way(logits, target, label_smoothing) / 2
        loss = loss + similarity_weight * _one_way(logits.T, target.T, label_smoothing) / 2
    return loss


def _one_way(
    logits: Float[Tensor, "n n"], target: Float[Tensor, "n n"] | None, label_smoothing: float
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of rows: to their own pairs, or to normalised similarities."""
    if target is None:
        wanted = torch.arange(len(logits), device=logits.device)
    else:
        wanted = target / target.sum(1, keepdim=True)
    return cross_entropy(logits, wanted, label_smoothing=label_smoothing)
