"""Retrieval on the volumes of a split: a program to be read from top to bottom."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from selip_core.data import Manifest
from selip_core.data.manifest import Split
from selip_core.errors import DataError, Problem
from selip_core.evaluation import read_truth
from selip_core.files import atomic_path, remove_partial_files
from selip_core.folders import require_writable
from selip_core.recipes.embedding import embed_volumes, evaluating
from selip_core.recipes.galleries import Gallery, sequence_galleries
from selip_core.recipes.model import load_model
from selip_core.recipes.pretrain import Cache, make_dataset
from selip_core.recipes.ranking import Truth, rank
from selip_core.recipes.retrieval_comparison import abnormal_queries, write_queries
from selip_core.recipes.retrieval_summary import nearest_reports, summarise
from selip_core.recipes.rows import read_rows, require_rows
from selip_core.recipes.run_folder import RunFolder
from selip_core.recipes.texts import TextFeatures, manifest_texts, require_texts


def retrieve(
    manifest: str | os.PathLike[str],
    run: str | os.PathLike[str],
    *,
    split: Split = "test",
    examples: int = 6,
    cache: Cache = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a run's model on a split; writes ``retrieval.json`` into the run and returns it.

    What each abnormal query got goes into ``retrieval_queries.jsonl``, for :func:`compare`. Splits
    other than ``"test"`` have files of their own: ``retrieval-validation.json`` and so on.

    Galleries lie within one sequence and hold one entry per distinct report, embedded by the text
    of the first row that carries it. Of each sequence, and of all together (``"pooled"``: each
    query against the gallery of its own sequence):

    - ``abnormal``: abnormal volumes against abnormal reports, both ways. A text is right for every
      volume that carries its report.
    - ``normal``: normal volumes against the whole gallery, in which normal reports are one entry,
      and the AUC of normal against abnormal volumes, scored by the cosine to the normal entry less
      the mean cosine to the others. Missing where a sequence has only one of the two.

    Every figure is ``{"value", "low", "high", "chance"}``, the interval by bootstrap over patients;
    ``queries`` and ``gallery`` (mean size for ``pooled``) stand beside it. R@k asks for an equal
    report. Where ``truth.jsonl`` lies beside the manifest, nDCG@10 is graded by it, and kind@1 is
    the share of abnormal volumes whose nearest report comes from a study that shows, in that
    sequence, a lesion of the same kind; of reports and their nearest volume likewise.

    Args:
        manifest: The manifest; its reports stand beside it.
        run: The folder of a pretraining run.
        split: The rows to measure on.
        examples: How many volumes have their ten nearest reports listed, by ids and cosines.
        cache: A folder that keeps preprocessed volumes between runs.
        progress: Show a progress bar.

    Raises:
        OSError: If the run has no finished model.
        DataError: If manifest, reports, truth or volumes cannot be used.
        ValueError: If ``examples`` is negative, the split has no volume or no abnormal one, or the
            run's folder cannot be written to.
    """
    if examples < 0:
        raise ValueError(f"examples must be at least 0, got {examples}")
    folder = RunFolder(Path(run))
    if not folder.model.exists():
        raise FileNotFoundError(f"{folder.path} {_no_model(folder.path)}")
    require_writable(folder.path)
    remove_partial_files(folder.path, minimum_age=3600)  # younger ones may be another's
    model, config = load_model(folder.model)
    rows = read_rows(manifest, config.data).select(split, config.data.sequences)
    require_rows(rows, split, config.data)
    require_texts(rows, config.data.text)
    galleries = _measurable_galleries(rows, split)
    truth = _read_truth(rows)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    volumes = make_dataset(rows, config.data, cache)
    images = embed_volumes(model, volumes, config.data.batch_size, config.data.workers, progress)
    texts = manifest_texts(rows, config.data.text)
    with evaluating(model):
        text_features = TextFeatures(model, texts)(texts).float().cpu()

    rankings = [rank(gallery, rows, images, text_features, truth) for gallery in galleries]
    result = {
        "format": 1,
        "split": split,
        "sequences": {each.gallery.sequence: summarise([each]) for each in rankings},
        "pooled": summarise(rankings),
        "examples": nearest_reports(rankings, rows, examples),
    }
    write_queries(folder.queries(split), abnormal_queries(rankings, rows))
    with atomic_path(folder.retrieval(split)) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _no_model(path: Path) -> str:
    """Return what a path is that is not the folder of a finished run, and what to give instead."""
    if path.is_file():
        return "is a file; give the folder of a run of selip pretrain"
    if (path / "model.safetensors").is_file():
        return "is the folder of a model, not of a run; give the run's folder, which holds it"
    if (path / "card.json").is_file():
        return "is a saved similarity; give the folder of a run of selip pretrain"
    if (path / "manifest.jsonl").is_file():
        return "is a data set; give the folder of a run of selip pretrain"
    return "has no finished model; run 'selip pretrain' there, with --resume if it was stopped"


def _measurable_galleries(rows: Manifest, split: Split) -> list[Gallery]:
    """The galleries; without an abnormal volume there is no figure, of normal volumes neither."""
    galleries = sequence_galleries(rows)
    if not any(gallery.abnormal().queries for gallery in galleries):
        raise ValueError(
            f"nothing can be measured on the {split} rows of {rows.path}: every report there is "
            "normal, and retrieval needs abnormal ones; add some, or choose another split"
        )
    return galleries


def _read_truth(manifest: Manifest) -> Truth | None:
    path = manifest.path.with_name("truth.jsonl")
    if not path.exists():
        return None
    truth = read_truth(path)
    problems = [
        Problem(manifest.place(index, "study"), f"this study is not in {path.name}")
        for index, row in enumerate(manifest.rows)
        if row.study not in truth
    ]
    if problems:
        raise DataError(f"{path} does not fit the manifest", problems)
    return truth
