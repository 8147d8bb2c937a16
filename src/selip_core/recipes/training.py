"""The training loop: steps to epochs, and after each a row of history and a checkpoint."""

import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from selip_core.data import VolumeDataset
from selip_core.dual_encoder import DualEncoder
from selip_core.files import writing
from selip_core.interruption import Interrupted, deferred_signals
from selip_core.losses import SimilarityCLIPLoss, scheduled_weight
from selip_core.recipes.checkpoint import save_checkpoint
from selip_core.recipes.config import PretrainConfig
from selip_core.recipes.corpus import TrainingBatch, TrainingCorpus
from selip_core.recipes.folder_lock import FolderLock
from selip_core.recipes.loading import load_batches, lost_readers_named
from selip_core.recipes.objective import Target
from selip_core.recipes.run_folder import RunFolder
from selip_core.recipes.schedule import learning_rate_factor, parameter_groups
from selip_core.recipes.texts import TextFeatures
from selip_core.recipes.training_state import (
    random_scalars,
    restore_random_scalars,
    restore_source,
    restore_tensors,
    source_scalars,
    state_tensors,
)
from selip_core.recipes.validation import Validator

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
        data_changes: Changes of the data that were accepted when it was resumed.
        history: One row per epoch that is done.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    data_changes: list[dict[str, int]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingLoop:
    """Runs a trainer from where it stands to its last step.

    Attributes:
        run_folder: Where history and checkpoints go.
        lock: That of the run's folder, confirmed before each write.
        rows_digest: Of rows and reports, kept in checkpoints.
        config: The run's settings.
        trainer: Takes the steps, and knows how far it has come.
        corpus: Turns read volumes into batches.
        volumes: The training volumes.
        validator: Measures the model after an epoch; None without validation volumes.
    """

    run_folder: RunFolder
    lock: FolderLock
    rows_digest: str
    config: PretrainConfig
    trainer: "Trainer"
    corpus: TrainingCorpus
    volumes: VolumeDataset
    validator: Validator | None

    def run(self, progress: bool) -> None:
        """Train to the end.

        Raises:
            Interrupted: On a signal to end, once a checkpoint is written.
            ValueError: If the loss is not finite.
            ChildProcessError: If a process that reads volumes was killed.
            WriteError: If a checkpoint or the history cannot be written.
        """
        position, steps = self.trainer.position, self.trainer.steps
        bar = tqdm(total=steps, initial=position.step, unit="step", disable=not progress)
        with bar, lost_readers_named(), deferred_signals() as interrupted:
            while not self._is_finished():
                self._run_epoch(bar, interrupted)
                self._finish_epoch(bar, interrupted)

    def save(self) -> None:
        """Write checkpoint and history of the position reached."""
        self.lock.confirm()
        tensors, scalars = self.trainer.state()
        scalars |= {"data": self.rows_digest, "config": self.config.model_dump(mode="json")}
        save_checkpoint(self.run_folder.checkpoint, self.trainer.position.step, tensors, scalars)
        # Second, so that a row proves that there was a checkpoint; a resumed run writes it again.
        self.run_folder.write_history(self.trainer.position.history)

    def _is_finished(self) -> bool:
        # At its last step an epoch may still lack its validation: then it counts batches.
        position = self.trainer.position
        return position.step >= self.trainer.steps and position.batch == 0

    def _run_epoch(self, bar: "tqdm[Any]", interrupted: Callable[[], int]) -> None:
        position = self.trainer.position
        batches = self.corpus.epoch_batches(position.epoch)
        last = position.batch + max(0, self.trainer.steps - position.step)
        before = time.perf_counter()
        for item in load_batches(
            self.volumes, batches[position.batch : last], self.config.data.workers
        ):
            loss = self.trainer.step(self.corpus.batch(item, position.epoch))
            now = time.perf_counter()
            position.batch += 1
            position.losses.append(loss)
            position.seconds += now - before
            self._show(bar, len(item["index"]) / (now - before))
            before = now
            self._stop_if(interrupted)

    def _stop_if(self, interrupted: Callable[[], int]) -> None:
        """Save and stop if a signal arrived: between two steps, or two batches of a validation."""
        if interrupted():
            self.save()
            self._raise_if(interrupted)

    def _raise_if(self, interrupted: Callable[[], int]) -> None:
        number = interrupted()
        if not number:
            return
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        raise Interrupted(
            f"stopped{by} after step {self.trainer.position.step} of {self.trainer.steps}; "
            "a checkpoint is written: go on with the same command and --resume",
            number,
        )

    def _finish_epoch(self, bar: "tqdm[Any]", interrupted: Callable[[], int]) -> None:
        position = self.trainer.position
        is_last = position.step >= self.trainer.steps
        row: dict[str, Any] = {
            "epoch": position.epoch,
            "step": position.step,
            "loss": sum(position.losses) / len(position.losses),
            "logit_scale": self.trainer.model.logit_scale.item(),
            **self.trainer.learning_rates(),
            "seconds": round(position.seconds, 3),
        }
        if self.validator and (is_last or (position.epoch + 1) % self.config.validate_every == 0):
            measured = self.validator(lambda: self._stop_if(interrupted))
            if measured is not None:
                row["validation"] = measured._asdict()
        if position.data_changes:
            row["data_changes"] = position.data_changes
        position.history.append(row)
        position.epoch, position.batch, position.seconds = position.epoch + 1, 0, 0.0
        position.losses, position.data_changes = [], []
        self._show(bar)
        self.save()
        self._track(row)
        self._raise_if(interrupted)

    def _track(self, row: dict[str, Any]) -> None:
        """Hand a row of history to the tracker; that of TensorBoard writes into the folder."""
        is_file = self.config.tracker == "tensorboard"
        with writing(self.run_folder.path / "selip") if is_file else nullcontext():
            self.trainer.track(row)

    def _show(self, bar: "tqdm[Any]", volumes_per_second: float | None = None) -> None:
        position = self.trainer.position
        bar.n = position.step
        shown: dict[str, Any] = {"epoch": position.epoch}
        if position.losses:
            shown["loss"] = f"{position.losses[-1]:.3f}"
        validated = [row["validation"] for row in position.history if "validation" in row]
        if validated:
            shown["val R@1"] = f"{validated[-1]['recall']:.3f}"
        if volumes_per_second is not None:
            shown["volumes/s"] = f"{volumes_per_second:.1f}"
        bar.set_postfix(shown)


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
        self._objective = config.objective
        self.steps = steps
        self._loss = SimilarityCLIPLoss(
            align_weight=config.objective.align_weight,
            similarity_weight=config.objective.similarity_weight,
            clamp_eps=config.objective.clamp_eps,
        )
        self._optimizer = accelerator.prepare_optimizer(
            torch.optim.AdamW(parameter_groups(model, config.optimizer))
        )

    def step(self, batch: TrainingBatch) -> float:
        """Take one step and return its loss.

        In float16 a step whose gradients overflow changes no weight, and lowers the gradient scale.

        Raises:
            ValueError: If the loss is not finite; the weights are then as before the step.
        """
        factor = self._set_learning_rates()
        self._set_similarity_weight()
        loss = self._forward(batch)
        value = loss.item()
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {value} at step {self.position.step} (epoch {self.position.epoch}, "
                f"learning rates at {factor:.3g} of their peak); lower the learning rates, or set "
                "mixed_precision to 'no'. The last checkpoint is kept"
            )
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self.model.parameters(), self._settings.gradient_clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.model.clamp_logit_scale_()
        self.position.step += 1
        return value

    def track(self, row: dict[str, Any]) -> None:
        """Hand a row of history to the tracker, if there is one."""
        validation = row.get("validation", {})
        nested = {"validation", "data_changes"}
        values = {name: value for name, value in row.items() if name not in nested}
        values |= {f"validation_{name}": value for name, value in validation.items()}
        self._accelerator.log(values, step=row["step"])

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
        scalars |= source_scalars(self.model.image_encoder)
        if self._accelerator.scaler is not None:  # of float16
            scalars["scaler"] = self._accelerator.scaler.state_dict()
        return state_tensors(self.model, self._optimizer), scalars

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Put back what ``state`` gave."""
        restore_tensors(self.model, self._optimizer, tensors)
        restore_random_scalars(scalars["random"])
        if self._accelerator.scaler is not None and "scaler" in scalars:
            self._accelerator.scaler.load_state_dict(scalars["scaler"])
        restore_source(self.model.image_encoder, scalars)
        self.position = Position(**scalars["position"])

    def _forward(self, batch: TrainingBatch) -> Tensor:
        device = self._accelerator.device
        target = self._target(batch.report_ids)
        with self._accelerator.autocast():
            image_features = self.model.encode_image(batch.images.to(device))
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

    def _set_similarity_weight(self) -> None:
        objective = self._objective
        self._loss.similarity_weight = scheduled_weight(
            objective.similarity_weight,
            self.position.step,
            self.steps,
            objective.similarity_schedule,
        )

    def _factor(self, step: int) -> float:
        settings = self._settings
        return learning_rate_factor(step, self.steps, settings.warmup, settings.decay_power)
