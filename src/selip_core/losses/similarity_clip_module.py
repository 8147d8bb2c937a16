"""The settings of the loss as a module, called as open_clip's."""

import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor, nn

from selip_core.losses import checks
from selip_core.losses.backends import select_backend
from selip_core.losses.similarity_clip import similarity_clip_loss
from selip_core.losses.statistics import LossAndStatistics, LossStatistics
from selip_core.losses.target import Target


class SimilarityCLIPLoss(nn.Module):
    """The settings of :func:`similarity_clip_loss`; called as open_clip's ``ClipLoss``.

    Of the arguments of ``ClipLoss``, ``rank``, ``world_size``, ``local_loss``, ``gather_with_grad``
    and ``use_horovod`` are one here: the ``group`` of the call, over which the loss is local and
    exact. ``cache_labels`` has nothing to cache.

    Args:
        align_weight: Weight of the own pairs, at least 0.
        similarity_weight: Weight of the target, at least 0.
        label_smoothing: Share of every distribution that is spread evenly, in [0, 1).
        clamp_eps: None, or the paper's clamp in (0, 1).
        backend: ``"auto"``, or the name of a back end: ``"chunked"``, ``"dense"``,
            ``"triton"``.
        average: With a group, whether averaged gradients are those of one process.
        check_finite: Raise if features, scale or bias hold NaN or infinity; a GPU is waited for. In
            a compiled graph torch raises a RuntimeError.

    The weights are alike by default, as in the study of evidence, where a quarter and three
    quarters for the similarity gave no better retrieval.

    Raises:
        ValueError: If a weight, ``label_smoothing`` or ``clamp_eps`` is out of range, or the back
            end is unknown.

    Example:
        >>> import torch
        >>> loss_fn = SimilarityCLIPLoss(similarity_weight=0.5)
        >>> features = nn.functional.normalize(torch.randn(4, 8), dim=1).requires_grad_()
        >>> loss = loss_fn(features, features.detach(), 10.0, target=torch.eye(4))
        >>> loss.backward()
    """

    def __init__(
        self,
        align_weight: float = 1.0,
        similarity_weight: float = 1.0,
        *,
        label_smoothing: float = 0.0,
        clamp_eps: float | None = None,
        backend: str = "auto",
        average: bool = True,
        check_finite: bool = False,
    ) -> None:
        super().__init__()
        checks.check_weights(align_weight, similarity_weight)
        checks.check_clamp(clamp_eps, None)
        checks.check_label_smoothing(label_smoothing, clamp_eps)
        select_backend(backend, 1, across_processes=False, clamped=clamp_eps is not None)
        self.align_weight = align_weight
        self.similarity_weight = similarity_weight
        self.label_smoothing = label_smoothing
        self.clamp_eps = clamp_eps
        self.backend = backend
        self.average = average
        self.check_finite = check_finite

    def forward(
        self,
        image_features: Float[Tensor, "n d"],
        text_features: Float[Tensor, "n d"],
        logit_scale: Float[Tensor, ""] | float,
        logit_bias: Float[Tensor, ""] | float | None = None,
        output_dict: bool = False,
        *,
        target: Target | Float[Tensor, "n m"] | None = None,
        mask: Bool[Tensor, " n"] | None = None,
        group: "dist.ProcessGroup | None" = None,
        return_stats: bool = False,
    ) -> Tensor | LossAndStatistics | dict[str, Tensor | LossStatistics]:
        """Return the loss, as a dictionary with ``output_dict``.

        Positional arguments are those of open_clip's ``ClipLoss``; all arguments and errors are
        those of :func:`similarity_clip_loss`.

        Returns:
            The loss, or ``(loss, statistics)`` with ``return_stats``. With ``output_dict``
            ``{"contrastive_loss": loss}`` as ``ClipLoss`` does, and beside it, with
            ``return_stats``, the :class:`LossStatistics` by the key ``"statistics"``. open_clip's
            own training loop adds up all values of the dictionary: ask for statistics elsewhere.
        """
        result = similarity_clip_loss(
            image_features,
            text_features,
            logit_scale,
            logit_bias=logit_bias,
            target=target,
            mask=mask,
            align_weight=self.align_weight,
            similarity_weight=self.similarity_weight,
            label_smoothing=self.label_smoothing,
            clamp_eps=self.clamp_eps,
            backend=self.backend,
            group=group,
            average=self.average,
            check_finite=self.check_finite,
            return_stats=return_stats,
        )
        if not output_dict:
            return result
        if isinstance(result, LossAndStatistics):
            return {"contrastive_loss": result.loss, "statistics": result.statistics}
        return {"contrastive_loss": result}

    def extra_repr(self) -> str:
        """Return the settings, for ``print``."""
        names = (
            *("align_weight", "similarity_weight", "label_smoothing"),
            *("clamp_eps", "backend", "average", "check_finite"),
        )
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
