"""Validated inputs of one loss call, agreed on by all ranks and without masked pairs."""

from dataclasses import dataclass, replace
from typing import Any, Self, final

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.losses import checks
from selip_core.losses.agreement import Settings, agree
from selip_core.losses.precision import accumulation_dtype
from selip_core.losses.ranks import Ranks
from selip_core.losses.target import Target, TwoWayTarget

# Optional members of a target, which decide what is exchanged.
TARGET_MEMBERS = ("select", "tile", "entropy")


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """What one process brings to the loss.

    Attributes:
        image_features: One image a row.
        text_features: The text of each image.
        logit_scale: Without dimensions.
        logit_bias: Likewise, or None.
        target: In the accumulation type, these images by all texts; or None.
        mask: True where a pair is there; or None.
    """

    image_features: Float[Tensor, "n d"]
    text_features: Float[Tensor, "n d"]
    logit_scale: Float[Tensor, ""]
    logit_bias: Float[Tensor, ""] | None
    target: Target | None
    mask: Bool[Tensor, " n"] | None

    @classmethod
    def checked(
        cls,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor | float,
        logit_bias: Tensor | float | None,
        target: Target | Tensor | None,
        mask: Tensor | None,
        group: "dist.ProcessGroup | None",
    ) -> Self:
        """Return the batch; nothing is sent.

        Raises:
            ValueError: If something is wrong with it that this process can see.
        """
        checks.check_features(image_features, text_features)
        rows = len(image_features)
        checks.check_mask(mask, rows)
        scale = checks.scalar("logit_scale", logit_scale, image_features)
        bias = None
        if logit_bias is not None:
            bias = checks.finite_bias(logit_bias, image_features)
        if mask is not None:
            mask = mask.to(image_features.device)
        if target is not None:
            columns = rows if group is None else None
            target = checks.as_target(target, image_features, columns, masked=mask is not None)
            dtype = accumulation_dtype(image_features.dtype)
            target = target.to(image_features.device, dtype)
        return cls(image_features, text_features, scale, bias, target, mask)

    def check_finite(self) -> None:
        """Raise a ValueError that names the tensor with a NaN or an infinity; not where masked."""
        scalars = {"logit_scale": self.logit_scale, "logit_bias": self.logit_bias}
        checks.check_all_finite(
            image_features=self._kept(self.image_features),
            text_features=self._kept(self.text_features),
            **{name: scalar for name, scalar in scalars.items() if scalar is not None},
        )

    def _kept(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return features if self.mask is None else features.masked_fill(~self.mask[:, None], 0)

    def agreed(self, group: "dist.ProcessGroup | None", **call: Any) -> "Agreed":
        """Return what is left of the batch after the mask, and how many pairs each rank holds.

        Args:
            group: The processes.
            call: The fields of :class:`Settings` that are arguments of the loss.

        Raises:
            ValueError: On all ranks, if one cannot go on, if they differ in their settings, their
                scale or their bias, or if no pair is left.
        """
        rows, masked = len(self.image_features), self.mask is not None
        if group is None:
            ranks = Ranks(None, (rows,), 0)
        else:
            columns = -1 if self.target is None else self.target.shape[1]
            settings = self._settings(**call)
            ranks, masked = agree(rows, columns, masked, self._scalars(), settings, group)
        checks.check_rows(ranks.total)
        return self._without_masked(ranks) if masked else Agreed(self, ranks)

    def _settings(self, **call: Any) -> Settings:
        target, with_gradients = self.target, torch.is_grad_enabled()
        return Settings(
            **call,
            features_dtype=self.image_features.dtype,
            features_width=self.image_features.shape[1],
            device=self.logit_scale.device.type,
            text_features_require_grad=self.text_features.requires_grad and with_gradients,
            logit_scale_requires_grad=self.logit_scale.requires_grad and with_gradients,
            logit_bias_is_given=self.logit_bias is not None,
            target_is_given=target is not None,
            target_members=tuple(name for name in TARGET_MEMBERS if hasattr(target, name)),
        )

    def _scalars(self) -> Float[Tensor, " 2"]:
        """Return scale and bias, 0 without one, on the device of the scale."""
        scale = self.logit_scale.detach().double()
        bias = torch.zeros_like(scale) if self.logit_bias is None else self.logit_bias.detach()
        return torch.stack([scale, bias.to(scale)])

    def _without_masked(self, ranks: Ranks) -> "Agreed":
        """Take out the pairs that a mask leaves out, here and on the other ranks."""
        device = self.image_features.device
        mask = self.mask
        if mask is None:
            mask = torch.ones(len(self.image_features), dtype=torch.bool, device=device)
        # uint8, because not every back end of torch.distributed sends bool.
        everywhere = ranks.gather(mask.to(torch.uint8)[:, None])[:, 0].bool()
        sizes = torch.stack(
            [part.sum() for part in torch.split(everywhere, list(ranks.sizes))]
        ).tolist()
        checks.check_kept(sum(sizes), ranks.total)
        rows, columns = mask.nonzero()[:, 0], everywhere.nonzero()[:, 0]
        target = self.target
        if target is not None:
            target = checks.check_selectable(target).select(rows, columns)
        left = replace(
            self,
            image_features=self.image_features.index_select(0, rows),
            text_features=self.text_features.index_select(0, rows),
            target=target,
            mask=None,
        )
        return Agreed(left, replace(ranks, sizes=tuple(sizes)))


@final
@dataclass(frozen=True, eq=False)
class Agreed:
    """A batch without masked pairs, and its ranks.

    Attributes:
        batch: Of this process; its mask is None.
        ranks: Who holds how many of the pairs that are left.
    """

    batch: Batch
    ranks: Ranks


@torch.no_grad()
def normalised_target(agreed: Agreed) -> TwoWayTarget | None:
    """Return the target with its sums over all ranks.

    Raises:
        ValueError: On every rank, if a row or column cannot be normalised; see :func:`require`.
    """
    similarities, ranks = agreed.batch.target, agreed.ranks
    if similarities is None:
        return None
    row_sums = similarities.row_sums()
    # The bad rows travel with the column sums: one exchange.
    bad_rows = (~_positive(row_sums)).sum().to(row_sums)
    sums = ranks.sum(torch.cat([similarities.column_sums(), bad_rows[None]]))
    column_sums, bad_rows = sums[:-1], sums[-1]
    checks.check_sums(bad_rows == 0, "row")
    checks.check_sums(_positive(column_sums).all(), "column")
    return TwoWayTarget(similarities, row_sums, column_sums)


def _positive(sums: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
    return (sums > 0) & sums.isfinite()
