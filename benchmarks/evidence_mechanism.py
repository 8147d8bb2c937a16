"""What a target asks for, and what the loss does with it: the numbers behind an arm's result."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from evidence_targets import Rows, Target
from selip_core.losses import SimilarityCLIPLoss, similarity_clip_loss
from selip_core.similarity import SimilarityOperator


def target_shape(
    target: Target, batches: Sequence[Rows], own_share: float = 0.0
) -> dict[str, float]:
    """Return the means over all rows of some batches of the row-normalised target.

    Args:
        target: From rows to similarities.
        batches: Rows of the training split.
        own_share: Share of a distribution that is given to the own pair first, as the CLIP term
            does.

    Returns:
        ``own_mass``; ``entropy`` in nats; ``positives``, the exponential of each row's entropy;
        ``similarity``, the mean of raw similarities of different rows.
    """
    found: dict[str, list[Tensor]] = {"own_mass": [], "entropy": [], "positives": []}
    raw = []
    for rows in batches:
        values = target(rows).dense().double()
        own = torch.eye(len(rows), dtype=values.dtype)
        sums = values.sum(1, keepdim=True).clamp(min=1e-12)
        wanted = own_share * own + (1 - own_share) * values / sums
        entropy = -torch.xlogy(wanted, wanted).sum(1)
        found["own_mass"].append(wanted.diagonal())
        found["entropy"].append(entropy)
        found["positives"].append(entropy.exp())
        raw.append(values[own == 0])
    means = {name: float(torch.cat(parts).mean()) for name, parts in found.items()}
    return means | {"similarity": float(torch.cat(raw).mean())}


def smoothing_of(entropy: float, answers: int) -> float:
    """Return the label smoothing at which a distribution over answers has this entropy in nats.

    Example:
        >>> round(smoothing_of(math.log(4), 4), 3), round(smoothing_of(0.0, 4), 3)
        (1.0, 0.0)
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        share = (low + high) / 2
        other, own = share / answers, 1 - share + share / answers
        reached = -own * math.log(own) - (answers - 1) * other * math.log(other)
        low, high = (share, high) if reached < entropy else (low, share)
    return (low + high) / 2


def look_at(
    loss_fn: SimilarityCLIPLoss,
    image_features: Float[Tensor, "n d"],
    text_features: Float[Tensor, "n d"],
    logit_scale: float,
    similarities: SimilarityOperator | None,
) -> dict[str, float]:
    """Return what each part of the loss pulls at, on one batch.

    Gradients are those of both features. ``similarity_share`` is the norm of the similarity part's
    over the sum of both norms; ``agreement`` is the cosine of the two parts.
    """
    images, texts = (
        each.detach().clone().requires_grad_() for each in (image_features, text_features)
    )

    def gradient(align: float, similarity: float) -> Tensor:
        loss: Tensor = similarity_clip_loss(
            images,
            texts,
            logit_scale,
            target=similarities if similarity else None,
            align_weight=align,
            similarity_weight=similarity,
            label_smoothing=loss_fn.label_smoothing,
            clamp_eps=loss_fn.clamp_eps if similarity else None,
        )
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, (images, texts))])

    nothing = images.new_zeros(images.numel() + texts.numel())
    weight = loss_fn.similarity_weight if similarities is not None else 0.0
    align = gradient(loss_fn.align_weight, 0.0) if loss_fn.align_weight else nothing
    similarity = gradient(0.0, weight) if weight else nothing
    with torch.no_grad():
        predicted = (logit_scale * images @ texts.T).softmax(1)
        entropy = -torch.xlogy(predicted, predicted).sum(1)
    norms = {"align": float(align.norm()), "similarity": float(similarity.norm())}
    total = float((align + similarity).norm())
    agreement = torch.nn.functional.cosine_similarity(align, similarity, dim=0)
    return {
        "logit_scale": logit_scale,
        "gradient": total,
        "similarity_share": norms["similarity"] / max(sum(norms.values()), 1e-12),
        "agreement": float(agreement),
        "own_mass": float(predicted.diagonal().mean()),
        "positives": float(entropy.exp().mean()),
    }
