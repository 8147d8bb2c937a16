"""One optimiser step, and the state around it."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from selip_core.dual_encoder import DualEncoder
from selip_core.losses import SimilarityCLIPLoss
from selip_core.recipes.checkpoint import (
    random_scalars,
    restore_random_scalars,
    restore_tensors,
    state_tensors,
)
from selip_core.recipes.config import PretrainConfig
from selip_core.recipes.corpus import TrainingBatch
from selip_core.recipes.objective import Target
from selip_core.recipes.schedule import learning_rate_factor, parameter_groups
from selip_core.recipes.texts import TextFeatures

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Position:
    """How far training has come.

    Attributes:
        epoch: The epoch that is running, from 0.
        batch: Batches of it that are done.
        step: Optimiser steps that are done.
        losses: Of those batches.
        seconds: Time spent on them.
        history: One row an epoch that is done.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """AdamW on the similarity CLIP loss, at learning rates that depend on the step alone.

    Args:
        accelerator: Device, precision, backward.
        model: On the accelerator's device.
        text_features: Of the texts of every batch.
        target: From the report ids of a batch to its similarities.
        config: The run's settings.
        steps: Steps of the whole run.
    """

    def __init__(
        self,
        accelerator: "Accelerator",
        model: DualEncoder,
        text_features: TextFeatures,
        target: Target,
        config: PretrainConfig,
        steps: int,
    ) -> None:
        self.model = model
        self.position = Position()
        self._accelerator = accelerator
        self._text_features = text_features
        self._target = target
        self._settings = config.optimizer
        self.steps = steps
        self._loss = SimilarityCLIPLoss(
            align_weight=config.objective.align_weight,
            similarity_weight=config.objective.similarity_weight,
            clamp_eps=config.objective.clamp_eps,
        )
        self._optimizer = torch.optim.AdamW(parameter_groups(model, config.optimizer))

    def step(self, batch: TrainingBatch) -> float:
        """Take one step and return its loss.

        Raises:
            ValueError: If the loss is not finite; the weights are then as before the step.
        """
        factor = self._set_learning_rates()
        loss = self._forward(batch)
        value = loss.item()
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {value} at step {self.position.step} (epoch {self.position.epoch}, "
                f"learning rates at {factor:.3g} of their peak); lower the learning rates, or set "
                "mixed_precision to 'no'. The last checkpoint stands"
            )
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self.model.parameters(), self._settings.gradient_clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.model.clamp_logit_scale_()
        self.position.step += 1
        return value

    def learning_rates(self) -> dict[str, float]:
        """The rates of the last step, of image and text parameters."""
        last = max(0, self.position.step - 1)
        factor = self._factor(last)
        return {
            "learning_rate_image": factor * self._settings.learning_rate_image,
            "learning_rate_text": factor * self._settings.learning_rate_text,
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and scalars from which ``restore`` goes on to the same bits."""
        scalars = {"position": asdict(self.position), "random": random_scalars()}
        return state_tensors(self.model, self._optimizer), scalars

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Put back what ``state`` gave."""
        restore_tensors(self.model, self._optimizer, tensors)
        restore_random_scalars(scalars["random"])
        self.position = Position(**scalars["position"])

    def _forward(self, batch: TrainingBatch) -> Tensor:
        device = self._accelerator.device
        target = self._target(batch.report_ids)
        with self._accelerator.autocast():
            image_features = self.model.encode_image(batch.images.to(device, non_blocking=True))
            text_features = self._text_features(batch.texts)
        loss: Tensor = self._loss(
            image_features,
            text_features,
            self.model.logit_scale,
            target=None if target is None else target.to(device),
        )
        return loss

    def _set_learning_rates(self) -> float:
        factor = self._factor(self.position.step)
        for group in self._optimizer.param_groups:
            group["lr"] = factor * group["peak"]
        return factor

    def _factor(self, step: int) -> float:
        settings = self._settings
        return learning_rate_factor(step, self.steps, settings.warmup, settings.decay_power)
