"""Pretraining: a program to be read from top to bottom, copied and changed."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from selip_core._optional import require
from selip_core.data import Manifest, VolumeDataset
from selip_core.folders import require_writable
from selip_core.recipes.config import DataConfig, PretrainConfig
from selip_core.recipes.corpus import TrainingCorpus
from selip_core.recipes.data_record import rows_digest
from selip_core.recipes.folder_lock import lock_folder
from selip_core.recipes.image_encoder import require_image_encoder
from selip_core.recipes.model import build_model, save_model
from selip_core.recipes.objective import fit_target
from selip_core.recipes.processes import require_processes
from selip_core.recipes.rows import read_rows, require_rows
from selip_core.recipes.run_card import run_card
from selip_core.recipes.run_data import check_data
from selip_core.recipes.run_folder import RunFolder
from selip_core.recipes.texts import TextFeatures, manifest_texts, require_texts
from selip_core.recipes.training import Trainer, TrainingLoop
from selip_core.recipes.validation import Validator
from selip_core.text import TextEncoder

if TYPE_CHECKING:
    from accelerate import Accelerator

Cache = str | os.PathLike[str] | None


def pretrain(
    manifest: str | os.PathLike[str],
    config: PretrainConfig,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    accept_changed_data: bool = False,
    cache: Cache = None,
    progress: bool = True,
) -> Path:
    """Train a dual encoder on the training rows of a manifest; returns the folder of its model.

    The target is fitted on training reports only. After each epoch a row goes into
    ``history.jsonl`` and a checkpoint is written; resumed from it, a run on the CPU reaches the
    same bits as one that was never stopped. There is a warning if the text encoder does not know
    the language of the reports. The folder is locked while the run writes there.

    Args:
        manifest: The manifest, in one folder with its reports.
        config: The settings.
        out: The run's folder; a new one, or with ``resume`` that of a run that was stopped.
        resume: Go on from the last checkpoint of ``out``; pretrained image weights are not read
            again.
        accept_changed_data: Resume although rows, reports or volumes changed; the history of the
            run then says how many.
        cache: A folder that keeps preprocessed volumes between runs.
        progress: Show a progress bar.

    Raises:
        DataError: If manifest, reports or volumes cannot be used; all missing volumes are named
            before training begins.
        FileExistsError: If ``out`` holds a run and ``resume`` is not asked for.
        FileNotFoundError: If ``resume`` is asked for and there is no run.
        BlockingIOError: If another process writes into ``out``.
        ValueError: If the image encoder cannot be made, or does not take volumes of that size,
            which is raised before anything is read; if several processes were launched; if settings
            or data changed since the run was started, or no checkpoint is whole; if ``out`` cannot
            be written to, the split is smaller than a batch, or the loss is not finite.
        WriteError: If a file of the run cannot be written. What was written before is whole.
        ChildProcessError: If a process that reads volumes was killed.
        Interrupted: On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint was written; a kind of
            KeyboardInterrupt whose message says how to go on. A second signal does not wait.
    """
    require_processes(1)
    if accept_changed_data and not resume:
        raise ValueError("accept_changed_data is for a run that is resumed: add --resume")
    require_image_encoder(config)
    rows = read_rows(manifest, config.data)
    training = rows.select("train", config.data.sequences)
    validation = rows.select("validation", config.data.sequences)
    require_rows(training, "train", config.data)
    for split in (training, validation):
        require_texts(split, config.data.text)
    corpus = TrainingCorpus(training, config.data, config.seed)
    steps = config.steps or config.epochs * corpus.batches_per_epoch
    run = RunFolder(Path(out))
    if resume:
        run.require_started()
    require_writable(run.path)

    with lock_folder(run.path) as lock:
        run.remove_partial_files()
        if not resume:
            run.require_new()
        state = run.resume(config) if resume else None
        data, changes = check_data(run, rows, (training, validation), state, accept_changed_data)

        accelerator = make_accelerator(config, run.path)
        torch.manual_seed(config.seed)
        model = build_model(config, pretrained=state is None).to(accelerator.device).train()
        text_encoder = cast(TextEncoder, model.text_encoder)
        text_encoder.warn_unknown_tokens(manifest_texts(training, config.data.text))
        volumes = make_dataset(training, config.data, cache)
        validator = None
        if len(validation):
            validator = Validator(model, make_dataset(validation, config.data, cache), config.data)
        text_features = TextFeatures(model, corpus.texts)
        target = fit_target(config.objective, corpus.reports)
        trainer = Trainer(accelerator, model, text_features, target, config, steps)
        loop = TrainingLoop(
            run, lock, rows_digest(rows), config, trainer, corpus, volumes, validator
        )
        if state is not None:
            trainer.restore(*state)
            run.write_history(trainer.position.history)  # which may have been cut
        if changes:
            trainer.position.data_changes.append(changes)
            loop.save()

        run.start(config)
        run.write_data_record(data)
        accelerator.init_trackers("selip")
        try:
            loop.run(progress)
        except KeyboardInterrupt:
            run.withdraw()
            raise
        if not run.model.exists():
            lock.confirm()
            card = run_card(config, training, validation, trainer.position.history)
            save_model(run.model, model, config, card)
        accelerator.end_training()
    return run.model


def make_accelerator(config: PretrainConfig, folder: Path) -> "Accelerator":
    """Device, precision and tracker; one process.

    Raises:
        ValueError: If several processes were launched: batches, text features and checkpoints here
            are those of one; or if float16 is asked for and there is no GPU.
        ImportError: If accelerate is not installed, or the tracker.
    """
    accelerate = require("accelerate", "train")
    precision = _precision(config.mixed_precision)
    accelerator: Accelerator = accelerate.Accelerator(
        mixed_precision=precision, log_with=config.tracker, project_dir=folder
    )
    if config.tracker and not accelerator.log_with:
        raise ImportError(
            f"the tracker {config.tracker!r} is not installed: install its package, or leave "
            "'tracker' out"
        )
    if accelerator.num_processes > 1:
        raise ValueError(
            f"this recipe trains in one process, got {accelerator.num_processes}; "
            "start it without a launcher"
        )
    return accelerator


def _precision(asked: str) -> str:
    has_gpu = torch.cuda.is_available()
    if asked == "fp16" and not has_gpu:
        raise ValueError("mixed_precision 'fp16' needs a GPU and found none; set 'no' or 'auto'")
    if asked != "auto":
        return asked
    if not has_gpu:
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def make_dataset(manifest: Manifest, config: DataConfig, cache: Cache = None) -> VolumeDataset:
    """The volumes of a manifest, preprocessed as the data section says."""
    return VolumeDataset(manifest, config.preprocessing, cache, in_memory=config.in_memory)
