"""Plain CLIP and similarity on simulated studies: a program to be read from top to bottom."""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from selip_core.files import atomic_path, remove_partial_files
from selip_core.folders import require_writable
from selip_core.recipes.config import (
    DataConfig,
    ImageEncoderConfig,
    ObjectiveConfig,
    PretrainConfig,
    TextEncoderConfig,
)
from selip_core.recipes.demo_page import demo_page
from selip_core.recipes.folder_lock import lock_folder
from selip_core.recipes.phases import Phases
from selip_core.recipes.pretrain import pretrain
from selip_core.recipes.processes import require_processes
from selip_core.recipes.retrieve import retrieve
from selip_core.recipes.run_folder import RunFolder
from selip_core.report import ArmKey, Page, render_page, retrieval_table
from selip_core.simulation import simulate

STUDIES = 1500
EPOCHS = 12
SPACING_MM = 4.0

PLAIN_CLIP = PretrainConfig(
    embed_dim=256,
    data=DataConfig(
        sequences=("FLAIR",),
        spacing=(SPACING_MM, SPACING_MM, SPACING_MM),
        flip_probability=0.5,
        batch_size=50,
        in_memory=True,
    ),
    image_encoder=ImageEncoderConfig(
        name="resnet10", pooling="grid", options={"width": 0.25, "stem": "cubic", "stages": 3}
    ),
    text_encoder=TextEncoderConfig(name="embedded", pooling="mean", frozen=True),
    objective=ObjectiveConfig(target="none"),
)
SIMILARITY = PLAIN_CLIP.model_copy(update={"objective": ObjectiveConfig(target="syntax")})

_FEWEST_STUDIES = 20
_RESULTS = "results.json"


def demo(
    out: str | os.PathLike[str],
    studies: int = STUDIES,
    epochs: int = EPOCHS,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Simulate studies, train both models, measure both; returns the path of ``report.html``.

    One is plain CLIP, the other has the default target, which the study of evidence chose. Both
    start from the same weights and take the same steps on the same batches. The folder then holds::

        data/               simulated studies
        cache/              their volumes, preprocessed
        clip/, similarity/  the two runs, as ``pretrain`` and ``retrieve`` leave them
        results.json        all figures
        report.html         the page for people
        phases.json         settings, and seconds of each phase

    Phases that are done are skipped: the same call goes on after an interruption.

    Args:
        out: A new folder, or one that was started with the same arguments.
        studies: Simulated studies in all; at least 20.
        epochs: Passes over the training volumes.
        seed: Of data, weights and batches.
        progress: Show progress bars.

    Raises:
        ValueError: If an argument is out of range, or ``out`` was started with other arguments.
        BlockingIOError: If another process writes into ``out``.
        ImportError: If the extra ``demo`` is not installed.
        KeyboardInterrupt: On Ctrl-C, SIGTERM or SIGHUP; everything done so far is kept.
    """
    if studies < _FEWEST_STUDIES:
        raise ValueError(
            f"studies must be at least {_FEWEST_STUDIES}, some for each split, got {studies}"
        )
    if epochs < 1 or seed < 0:
        raise ValueError(
            f"epochs must be at least 1 and seed at least 0, got epochs {epochs} and seed {seed}"
        )
    require_processes(1)
    out = Path(out)
    require_writable(out)
    with lock_folder(out):
        remove_partial_files(out)
        return _demo(out, studies, epochs, seed, progress)


def _demo(out: Path, studies: int, epochs: int, seed: int, progress: bool) -> Path:
    cache, data = out / "cache", out / "data"
    arms: dict[ArmKey, PretrainConfig] = {"clip": PLAIN_CLIP, "similarity": SIMILARITY}
    configs = {key: _sized(config, studies, epochs, seed) for key, config in arms.items()}
    phases = Phases(out / "phases.json", _settings(studies, configs))

    manifest = data / "manifest.jsonl"
    phases.run(
        "Simulate", manifest, lambda: simulate(data, studies, seed, SPACING_MM, progress=progress)
    )
    for key, config in configs.items():
        run = RunFolder(out / key)
        phases.run(
            f"Pretrain, {key}",
            run.model / "config.json",
            partial(_pretrain, manifest, config, run, cache, progress),
        )
        phases.run(
            f"Retrieve, {key}",
            run.retrieval(),
            partial(retrieve, manifest, run.path, examples=4, cache=cache, progress=progress),
        )

    runs = {key: RunFolder(out / key) for key in configs}
    page = demo_page(manifest, runs, configs, phases.seconds)
    _write(out / _RESULTS, json.dumps(_results(page), indent=1) + "\n")
    _write(out / "report.html", render_page(page))
    return out / "report.html"


def demo_table(out: str | os.PathLike[str]) -> str:
    """The figures of a finished demonstration as plain text: both arms, and their difference.

    Args:
        out: The folder that ``demo`` was given.

    Raises:
        OSError: If there is no ``results.json``.
    """
    results = json.loads((Path(out) / _RESULTS).read_text(encoding="utf-8"))
    retrievals = {arm["name"]: arm["retrieval"] for arm in results["arms"].values()}
    return retrieval_table(retrievals, results["differences"])


def _sized(config: PretrainConfig, studies: int, epochs: int, seed: int) -> PretrainConfig:
    """The configuration for this run; few studies make smaller batches."""
    values = config.model_dump() | {"epochs": epochs, "seed": seed}
    values["data"]["batch_size"] = min(config.data.batch_size, studies // 4)
    return PretrainConfig.model_validate(values)


def _settings(studies: int, configs: Mapping[ArmKey, PretrainConfig]) -> dict[str, Any]:
    settings: dict[str, Any] = {"studies": studies}
    return settings | {key: config.model_dump(mode="json") for key, config in configs.items()}


def _pretrain(
    manifest: Path, config: PretrainConfig, run: RunFolder, cache: Path, progress: bool
) -> None:
    resume = run.config.exists()
    pretrain(manifest, config, run.path, resume=resume, cache=cache, progress=progress)


def _results(page: Page) -> dict[str, Any]:
    """Every figure of the page, without pictures and texts."""
    return {
        "simulated": True,
        "studies": page.counts,
        "sequences": page.sequences,
        "epochs": page.epochs,
        "seed": page.seed,
        "arms": {
            arm.key: {"name": arm.name, "retrieval": arm.retrieval, "history": arm.history}
            for arm in page.arms
        },
        "differences": page.differences,
        "seconds": page.seconds,
        "environment": page.environment,
    }


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
