"""The first sweep of a step with statistics: the log-sum-exps, and what else the logits tell."""

from dataclasses import dataclass
from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.chunked import logits_of, tiles
from selip_core.losses.precision import accumulation_dtype, working
from selip_core.losses.ranks import Ranks
from selip_core.losses.softmax_summary import SoftmaxSummary


@final
@dataclass(frozen=True, eq=False)
class Summaries:
    """One batch, and its softmaxes in both directions.

    Tiles and the order of sums are those of the chunked back end, so its loss can go on from
    ``logsumexps`` and is the same to the bit.

    Attributes:
        images: Of this rank.
        texts: Of all ranks.
        logit_scale: In the accumulation type.
        rows: Softmaxes of this rank's images over all texts.
        columns: Softmaxes of all texts over the images of all ranks.
        own_logits: Of this rank's pairs.
    """

    images: Float[Tensor, "n d"]
    texts: Float[Tensor, "m d"]
    logit_scale: Float[Tensor, ""]
    rows: SoftmaxSummary
    columns: SoftmaxSummary
    own_logits: Float[Tensor, " n"]

    @property
    def logsumexps(self) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
        """Of this rank's images and of all texts."""
        return self.rows.logsumexp, self.columns.logsumexp

    @property
    def sum_of_logits(self) -> Float[Tensor, ""]:
        """``sum_ij tau <i_i, t_j>`` over this rank's images and all texts: of two vectors."""
        dtype = self.logit_scale.dtype
        both = self.images.sum(0, dtype=dtype) * self.texts.sum(0, dtype=dtype)
        return self.logit_scale * both.sum()

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        image_features: Float[Tensor, "n d"],
        text_features: Float[Tensor, "n d"],
        logit_scale: Float[Tensor, ""],
        ranks: Ranks,
    ) -> Self:
        """Sweep over the logits in tiles; none is kept."""
        images, texts = working(image_features), working(ranks.gather(text_features))
        scale = logit_scale.to(images.device, accumulation_dtype(images.dtype))
        rows = SoftmaxSummary.of_nothing(len(images), scale)
        columns = SoftmaxSummary.of_nothing(len(texts), scale)
        own_logits = scale.new_empty(len(images))
        for block, across in tiles(images, texts):
            logits = logits_of(images[block], texts[across], scale)
            rows.add_at(block, SoftmaxSummary.of(logits, 1))
            columns.add_at(across, SoftmaxSummary.of(logits, 0))
            offset = ranks.own.start + block.start - across.start
            own = logits.diagonal(offset)
            start = block.start + max(0, -offset)
            own_logits[start : start + len(own)] = own
        return cls(images, texts, scale, rows, columns.over(ranks), own_logits)
