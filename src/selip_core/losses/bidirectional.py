"""The primitive under the loss: log-sum-exps of all rows and all columns in one sweep."""

from jaxtyping import Float
from torch import Tensor

from selip_core.losses import checks
from selip_core.losses.backends import select_backend
from selip_core.losses.precision import accumulation_dtype, full_precision, working


def bidirectional_logsumexp(
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "m d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    logit_bias: Float[Tensor, ""] | float | None = None,
    backend: str = "auto",
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    r"""Log-sum-exp of every row and of every column of the logits, which are not kept.

    With logits :math:`L = \tau I T' + \beta`

    .. math::

        \mathrm{rows}_i = \log \sum_j e^{L_{ij}}, \qquad
        \mathrm{columns}_j = \log \sum_i e^{L_{ij}}

    Any contrastive loss of the CLIP family is these two less what it attracts. With
    incoming gradients :math:`u` of the rows and :math:`v` of the columns the gradient of the logits
    is :math:`\mathrm{diag}(u)\,P_\mathrm{rows} + P_\mathrm{columns}\,\mathrm{diag}(v)`, both
    softmaxes recomputed: forward and backward are four products of n m d multiplications, in
    ``O((n + m) d)`` memory and a bounded workspace.

    Args:
        image_features: One image a row, finite; of unit norm in CLIP, though nothing here needs it.
        text_features: One text a row, of the images' width and type.
        logit_scale: The multiplier of the products itself, not its logarithm.
        logit_bias: Added to every logit.
        backend: ``"dense"`` keeps the table of logits and can be differentiated twice;
            ``"chunked"`` and ``"triton"`` compute it in tiles, and again for the gradient.
            ``"auto"`` chooses as :func:`~selip_core.losses.similarity_clip_loss` does.

    Returns:
        Rows and columns, float32 whatever the features are (float64 for float64); differentiable
        in features, scale and bias. Minus infinity where there is nothing to sum.

    Raises:
        ValueError: If shapes, types or devices do not fit, the bias is not finite, or the back end
            is unknown.

    Example:
        >>> import torch
        >>> images, texts = torch.eye(2), torch.zeros(3, 2)
        >>> rows, columns = bidirectional_logsumexp(images, texts, 10.0)
        >>> rows.exp(), columns.exp()
        (tensor([3., 3.]), tensor([2., 2., 2.]))

    Source: the tiles are those of Inf-CL (Cheng et al., arXiv 2410.17243), who sweep once a
    direction.
    """
    checks.check_two_sets(image_features, text_features)
    scale = checks.scalar("logit_scale", logit_scale, image_features)
    rows = max(len(image_features), len(text_features))
    chosen = select_backend(backend, rows, image_features, across_processes=False)
    dtype = accumulation_dtype(image_features.dtype)
    with full_precision(image_features):
        by_row, by_column = chosen.logsumexps(
            working(image_features), working(text_features), scale.to(image_features.device, dtype)
        )
        if logit_bias is None:
            return by_row, by_column
        bias = checks.finite_bias(logit_bias, image_features).to(by_row)
        return by_row + bias, by_column + bias
