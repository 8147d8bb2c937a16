"""What a batch teaches, in numbers to watch: parts of the loss, entropies, accuracy."""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selip_core.losses.ranks import Ranks
from selip_core.losses.softmax_summary import SoftmaxSummary
from selip_core.losses.summaries import Summaries
from selip_core.losses.target import TwoWayTarget
from selip_core.losses.target_entropy import target_entropies

SATURATED = 0.99
"""Probability of the own pair above which a pair has next to no gradient left."""

Sums = dict[str, Float[Tensor, ""]]


@final
@dataclass(frozen=True, eq=False)
class DirectionStatistics:
    """Means over the queries of one direction: images that ask for texts, or texts for images.

    Entropies and divergences are in nats; targets are as trained on, label smoothing included.

    Attributes:
        align: Cross-entropy to the own pair.
        prediction_entropy: Of the softmax of the logits. Near 0: the model is certain; near the
            logarithm of the number of pairs: it tells nothing apart.
        accuracy: Share of queries whose own pair is first, in [0, 1]. Where ``k`` answers are
            equally good and the own pair is one of them, it counts as ``1/k``; equal features can
            differ by a rounding of their logits, and then are no tie.
        saturated: Share of queries that give their own pair a probability above 0.99, in [0, 1].
        similarity: Cross-entropy to the normalised similarities; None without a target.
        target_entropy: Of them; None without a target, or if it cannot tell its entropy.
        effective_positives: Mean of ``exp`` of a target's entropy: 1 where only the own pair
            counts, ``k`` where ``k`` answers count alike. None as before.
    """

    align: Float[Tensor, ""]
    prediction_entropy: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]
    saturated: Float[Tensor, ""]
    similarity: Float[Tensor, ""] | None = None
    target_entropy: Float[Tensor, ""] | None = None
    effective_positives: Float[Tensor, ""] | None = None

    @property
    def kl(self) -> Float[Tensor, ""] | None:
        """KL divergence to the similarities: their cross-entropy less their entropy, or None."""
        if self.similarity is None or self.target_entropy is None:
            return None
        return self.similarity - self.target_entropy


@final
@dataclass(frozen=True, eq=False)
class LossStatistics:
    r"""Detached numbers of one batch, the same on every rank of a group.

    With align weight :math:`a` and similarity weight :math:`b` the whole loss is

    .. math::

        \tfrac{a}{2}(\mathrm{align}_{I \to T} + \mathrm{align}_{T \to I})
        + \tfrac{b}{2}(\mathrm{similarity}_{I \to T} + \mathrm{similarity}_{T \to I})

    Attributes:
        image_to_text: Of images that ask for their texts.
        text_to_image: Of texts that ask for their images.
        logit_scale: The multiplier of the cosines.
        logit_bias: What was added to the logits, 0 without.
        pairs: How many took part: on all ranks, without masked ones.

    Example:
        >>> from selip_core.losses import similarity_clip_loss
        >>> features, alike = torch.eye(4), torch.eye(4)
        >>> alike[0, 1] = alike[1, 0] = 1.0
        >>> loss, statistics = similarity_clip_loss(
        ...     features, features, 2.0, target=alike, return_stats=True
        ... )
        >>> round(statistics.image_to_text.effective_positives.item(), 3)
        1.5
        >>> for name, value in statistics.as_dict().items():
        ...     if name.startswith("image_to_text"):
        ...         print(f"{name} {value:.3f}")
        image_to_text/align 0.341
        image_to_text/prediction_entropy 0.918
        image_to_text/accuracy 1.000
        image_to_text/saturated 0.000
        image_to_text/similarity 0.841
        image_to_text/target_entropy 0.347
        image_to_text/effective_positives 1.500
        image_to_text/kl 0.494
    """

    image_to_text: DirectionStatistics
    text_to_image: DirectionStatistics
    logit_scale: Float[Tensor, ""]
    logit_bias: Float[Tensor, ""]
    pairs: Int[Tensor, ""]

    def as_dict(self) -> dict[str, Tensor]:
        """Return all numbers that there are by name, ``image_to_text/align`` and so on."""
        named = {
            f"{direction}/{name}": value
            for direction in ("image_to_text", "text_to_image")
            for name, value in (
                *vars(getattr(self, direction)).items(),
                ("kl", getattr(self, direction).kl),
            )
        }
        named |= {name: getattr(self, name) for name in ("logit_scale", "logit_bias", "pairs")}
        return {name: value for name, value in named.items() if value is not None}


class LossAndStatistics(NamedTuple):
    """What the loss returns with ``return_stats=True``; only ``loss`` has a gradient."""

    loss: Float[Tensor, ""]
    statistics: LossStatistics


@torch.no_grad()
def measure(
    summaries: Summaries,
    logit_bias: Float[Tensor, ""] | None,
    target: TwoWayTarget | None,
    label_smoothing: float,
    ranks: Ranks,
) -> LossStatistics:
    """Return the statistics of a batch, from what one sweep told and from products of the target.

    A bias moves all logits alike and changes none of it.
    """
    scale, own_logits = summaries.logit_scale, summaries.own_logits
    # The mean logit of all queries; ranks add up to it, in either direction.
    uniform = summaries.sum_of_logits / ranks.total
    ways = summaries.rows, summaries.columns.of_slice(ranks.own)
    sums = [_sums(way, own_logits, label_smoothing, uniform) for way in ways]
    if target is not None:
        pulls = target.attractions(summaries.images, summaries.texts)
        entropies = target_entropies(target, label_smoothing, ranks)
        for index, way in enumerate(ways):
            attraction = _smoothed(scale * pulls[index], label_smoothing, uniform)
            sums[index]["similarity"] = way.logsumexp.sum() - attraction
            if entropies is not None:
                sums[index]["target_entropy"] = entropies[index].sum()
                sums[index]["effective_positives"] = entropies[index].exp().sum()
    image_to_text, text_to_image = _means(sums, ranks)
    bias = torch.zeros_like(scale) if logit_bias is None else logit_bias.detach().clone()
    return LossStatistics(
        DirectionStatistics(**image_to_text),
        DirectionStatistics(**text_to_image),
        logit_scale=scale.detach().clone(),
        logit_bias=bias,
        pairs=torch.tensor(ranks.total, device=scale.device),
    )


def _sums(
    softmaxes: SoftmaxSummary,
    own_logits: Float[Tensor, " n"],
    label_smoothing: float,
    uniform: Float[Tensor, ""],
) -> Sums:
    """Return what one direction has without a target, summed over this rank's queries."""
    attraction = _smoothed(own_logits.sum(), label_smoothing, uniform)
    first = torch.where(own_logits == softmaxes.largest, 1 / softmaxes.ties, 0)
    own_probability = (own_logits - softmaxes.logsumexp).exp()
    return {
        "align": softmaxes.logsumexp.sum() - attraction,
        "prediction_entropy": softmaxes.entropy.sum(),
        "accuracy": first.sum(),
        "saturated": (own_probability > SATURATED).sum().to(own_logits.dtype),
    }


def _smoothed(
    attraction: Float[Tensor, ""], label_smoothing: float, uniform: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    return (1 - label_smoothing) * attraction + label_smoothing * uniform


def _means(sums: list[Sums], ranks: Ranks) -> list[Sums]:
    """Divide the sums over all ranks by the number of pairs; one exchange for all of them."""
    stacked = torch.stack([torch.stack(list(direction.values())) for direction in sums])
    means = ranks.sum(stacked) / ranks.total
    return [
        dict(zip(direction, values.unbind(), strict=True))
        for direction, values in zip(sums, means, strict=True)
    ]
