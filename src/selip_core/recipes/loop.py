"""Epochs: batches in, a row of history and a checkpoint out, Ctrl-C between two steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from selip_core.data import VolumeDataset
from selip_core.recipes.config import PretrainConfig
from selip_core.recipes.corpus import TrainingCorpus
from selip_core.recipes.interruption import deferred_interrupt
from selip_core.recipes.loading import load_batches
from selip_core.recipes.run_folder import RunFolder
from selip_core.recipes.trainer import Trainer
from selip_core.recipes.validation import Validator


@dataclass(frozen=True)
class TrainingLoop:
    """Runs a trainer from where it stands to its last step.

    Attributes:
        run_folder: Where history and checkpoints go.
        data: The digest of the data, kept in checkpoints.
        config: The run's settings.
        trainer: Takes the steps, and knows how far it has come.
        corpus: Turns read volumes into batches.
        volumes: The training volumes.
        validator: Measures the model after an epoch; None without validation volumes.
    """

    run_folder: RunFolder
    data: str
    config: PretrainConfig
    trainer: Trainer
    corpus: TrainingCorpus
    volumes: VolumeDataset
    validator: Validator | None

    def run(self, progress: bool) -> None:
        """Train to the end.

        Raises:
            KeyboardInterrupt: On Ctrl-C, once a checkpoint is written.
            ValueError: If the loss is not finite.
        """
        position, steps = self.trainer.position, self.trainer.steps
        bar = tqdm(total=steps, initial=position.step, unit="step", disable=not progress)
        with bar, deferred_interrupt() as interrupted:
            while not self._is_finished():
                self._run_epoch(bar, interrupted)
                self._finish_epoch(bar)

    def _is_finished(self) -> bool:
        # At its last step an epoch may still lack its validation: then it counts batches.
        position = self.trainer.position
        return position.step >= self.trainer.steps and position.batch == 0

    def _run_epoch(self, bar: "tqdm[Any]", interrupted: Callable[[], bool]) -> None:
        position = self.trainer.position
        batches = self.corpus.epoch_batches(position.epoch)
        last = position.batch + self.trainer.steps - position.step
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
            if interrupted():
                self._save()
                raise KeyboardInterrupt(
                    f"stopped after step {position.step} of {self.trainer.steps}; a checkpoint "
                    "is written: go on with the same command and --resume"
                )

    def _finish_epoch(self, bar: "tqdm[Any]") -> None:
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
            measured = self.validator()
            if measured is not None:
                row["validation"] = measured._asdict()
        position.history.append(row)
        position.epoch, position.batch, position.seconds = position.epoch + 1, 0, 0.0
        position.losses = []
        self._show(bar)
        self._save()

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

    def _save(self) -> None:
        tensors, scalars = self.trainer.state()
        self.run_folder.save(self.trainer.position.step, tensors, scalars | {"data": self.data})
