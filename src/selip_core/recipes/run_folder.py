"""The folder of one pretraining run: what lies in it, and when it may be written to."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selip_core.data.manifest import Split
from selip_core.errors import DataError
from selip_core.files import atomic_path, remove_partial_files
from selip_core.recipes.checkpoint import State, has_checkpoint, load_checkpoint
from selip_core.recipes.config import PretrainConfig
from selip_core.recipes.config_file import config_differences, read_config
from selip_core.recipes.data_record import DataRecord

_HOUR = 3600.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """``config.json``, ``data.json``, ``history.jsonl``, ``checkpoint/``, ``model/``, results."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings of the run."""
        return self.path / "config.json"

    @property
    def data(self) -> Path:
        """Digests of what the run reads, to find changes when it is resumed."""
        return self.path / "data.json"

    @property
    def history(self) -> Path:
        """One JSON object per epoch."""
        return self.path / "history.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The last two complete states of training."""
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
        if self.config.exists() or self.holds_checkpoint() or self.model.exists():
            raise FileExistsError(
                f"{self.path} holds a run already; go on with --resume, or name another folder"
            )

    def require_started(self) -> None:
        """Refuse a folder without a run.

        Raises:
            FileNotFoundError: If there is none.
        """
        if not self.config.exists() and not self.holds_checkpoint():
            raise FileNotFoundError(f"{self.path} holds no run to resume; leave out --resume")

    def remove_partial_files(self) -> None:
        """Remove what a killed run left half-written; only while the lock of the folder is held."""
        # Only a finished run has others that write here: those that measure its model.
        remove_partial_files(self.path, _HOUR if self.model.exists() else 0.0)
        remove_partial_files(self.checkpoint)

    def start(self, config: PretrainConfig) -> None:
        """Write the settings, unless they were written before."""
        if not self.config.exists():
            _write(self.config, config.model_dump_json(indent=2) + "\n")

    def withdraw(self) -> None:
        """Remove the settings if no checkpoint was written: the run may be started anew."""
        if not self.holds_checkpoint():
            self.config.unlink(missing_ok=True)
            self.data.unlink(missing_ok=True)

    def holds_checkpoint(self) -> bool:
        """Return whether there is a checkpoint."""
        return has_checkpoint(self.checkpoint)

    def resume(self, config: PretrainConfig) -> State | None:
        """Return the last checkpoint, or None if the run was stopped before its first.

        Args:
            config: Must be what the run was started with.

        Raises:
            ValueError: If the settings changed since, with the differences; or if no checkpoint is
                whole, or all were deleted.
        """
        state = load_checkpoint(self.checkpoint)
        if state is None and self._has_progress():
            raise ValueError(
                f"training in {self.path} was under way, and {self.checkpoint} holds no checkpoint "
                "to go on from; put back a copy of one, or start in another folder"
            )
        written = None if state is None else PretrainConfig.model_validate(state[1]["config"])
        self._require_equal(self.config.name, self._read_config(written), config)
        if written is not None:  # config.json may have been edited since
            self._require_equal("its last checkpoint", written, config)
        return state

    def _has_progress(self) -> bool:
        """Return whether a checkpoint was written, by what is written after the first."""
        return self.model.exists() or (self.history.exists() and self.history.stat().st_size > 0)

    def _require_equal(self, name: str, before: PretrainConfig, now: PretrainConfig) -> None:
        differences = config_differences(before, now)
        if differences:
            raise ValueError(
                f"{self.path} was started with other settings; resume with those of {name} there, "
                "or start in another folder:\n  " + "\n  ".join(differences)
            )

    def _read_config(self, written: PretrainConfig | None) -> PretrainConfig:
        """Read ``config.json``; if it is damaged, write that of the checkpoint again."""
        try:
            return read_config(self.config)
        except (DataError, FileNotFoundError):
            if written is None:
                raise
        _logger.warning("%s was damaged and is written again from the checkpoint", self.config)
        _write(self.config, written.model_dump_json(indent=2) + "\n")
        return written

    def read_data_record(self) -> DataRecord | None:
        """Return what the run was started with; None, with a warning, where that is not known."""
        try:
            return DataRecord.from_json(self.data.read_text(encoding="utf-8"))
        except FileNotFoundError:
            reason = "is missing"
        except ValueError:
            reason = "is cut or edited"
        _logger.warning(
            "%s %s: whether volumes changed since the run was started is not known",
            self.data,
            reason,
        )
        return None

    def write_data_record(self, record: DataRecord) -> None:
        """Write what the run reads, whole or not at all."""
        _write(self.data, record.as_json())

    def write_history(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write one JSON object per epoch, whole or not at all."""
        _write(self.history, "".join(json.dumps(row) + "\n" for row in rows))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _ending(split: Split) -> str:
    return "" if split == "test" else f"-{split}"
