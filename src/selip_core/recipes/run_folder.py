"""The folder of one pretraining run: what lies in it, and when it may be written to."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from selip_core.data import Manifest
from selip_core.data.manifest import Split
from selip_core.files import atomic_path
from selip_core.recipes.checkpoint import load_checkpoint
from selip_core.recipes.config import PretrainConfig
from selip_core.recipes.config_file import config_differences, read_config

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors and scalars of a checkpoint."""


@dataclass(frozen=True)
class RunFolder:
    """``config.json``, ``history.jsonl``, ``checkpoint/``, ``model/``, and what was measured."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings of the run."""
        return self.path / "config.json"

    @property
    def history(self) -> Path:
        """One JSON object an epoch."""
        return self.path / "history.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The last complete state of training."""
        return self.path / "checkpoint"

    @property
    def model(self) -> Path:
        """The final model: there once training is done."""
        return self.path / "model"

    def retrieval(self, split: Split = "test") -> Path:
        """What ``selip retrieve`` found on a split; a name with the split unless it is the test's.

        Example:
            >>> RunFolder(Path("run")).retrieval("validation").name
            'retrieval-validation.json'
        """
        return self.path / f"retrieval{_ending(split)}.json"

    def queries(self, split: Split = "test") -> Path:
        """What it found for each abnormal query of a split, one JSON object a query."""
        return self.path / f"retrieval_queries{_ending(split)}.jsonl"

    def require_new(self) -> None:
        """Refuse a folder that a run was started in.

        Raises:
            FileExistsError: If there is one.
        """
        if self.config.exists():
            raise FileExistsError(
                f"{self.path} holds a run already; go on with --resume, or name another folder"
            )

    def start(self, config: PretrainConfig) -> None:
        """Make the folder and write the settings, unless they stand there from before."""
        if self.config.exists():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.config) as temporary:
            temporary.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def withdraw(self) -> None:
        """Take the settings back if no checkpoint was written: the run may be started anew."""
        if not self.holds_checkpoint():
            self.config.unlink(missing_ok=True)

    def holds_checkpoint(self) -> bool:
        """Whether a complete checkpoint is there."""
        return any(self.checkpoint.glob("step-*"))

    def resume(self, config: PretrainConfig, digest: str) -> State | None:
        """The last checkpoint, or None if the run was stopped before its first.

        Args:
            config: Must be what the run was started with.
            digest: Of the data; must be what the run was started with.

        Raises:
            FileNotFoundError: If there is no run.
            ValueError: If the settings or the data changed since; the message shows what.
        """
        if not self.config.exists():
            raise FileNotFoundError(f"{self.path} holds no run to resume; leave out --resume")
        differences = config_differences(read_config(self.config), config)
        if differences:
            raise ValueError(
                f"{self.path} was started with other settings; resume with those of "
                f"{self.config.name} there, or start in another folder:\n  "
                + "\n  ".join(differences)
            )
        state = load_checkpoint(self.checkpoint)
        if state is not None and state[1]["data"] != digest:
            raise ValueError(
                f"the manifest or its reports changed since {self.path} was started; "
                "start in another folder"
            )
        return state

    def write_history(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write one JSON object an epoch, whole or not at all."""
        with atomic_path(self.history) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _ending(split: Split) -> str:
    return "" if split == "test" else f"-{split}"


def data_digest(manifest: Manifest) -> str:
    """A hash of the rows and reports; volumes are not read."""
    digest = hashlib.sha256()
    for index, row in enumerate(manifest.rows):
        digest.update(row.model_dump_json().encode())
        digest.update(manifest.report_of(index).model_dump_json().encode())
    return digest.hexdigest()
