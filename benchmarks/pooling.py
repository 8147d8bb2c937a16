"""What a pooling that keeps position is worth: short trainings that tell side, site and kind.

A small ResNet is trained on simulated FLAIR volumes to tell which lesions they show: on which side,
in which site, of which kind. All that differs is the pooling. The kind is the control: it does not
depend on where a lesion is. Each seed has its own split by patient, initial weights and order of
volumes, which all poolings share, so that differences are paired.

Run: ``python benchmarks/pooling.py --work DIR [--seeds 8]``. What is simulated already is used.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor, nn

from results import write_result
from selip_core import create_image_encoder
from selip_core.data import Preprocessing, VolumeDataset, read_manifest
from selip_core.encoders import parameter_groups
from selip_core.evaluation import Lesion, area_under_curve, read_truth
from selip_core.simulation import simulate

STUDIES = 500
SIMULATED_MM, SPACING_MM = 5.0, 6.0
SIZE = (32, 38, 32)
SEQUENCE = "FLAIR"
POOLINGS = ("avg", "gem", "attention", "grid")
EPOCHS = 8
BATCH = 16
RATE = 2e-3
TRAINING_SHARE = 0.7
FEWEST = 20
"""Volumes that must show a label, of all volumes."""


@dataclass(frozen=True)
class Study:
    """Volumes, and what they show.

    Attributes:
        volumes: ``(n, 1, depth, height, width)``.
        labels: Whether a volume shows it, ``(n, labels)``.
        groups: The columns of the labels, by the name of their group.
        patients: Of each volume.
    """

    volumes: Tensor
    labels: Tensor
    groups: dict[str, list[int]]
    patients: list[str]


def load(work: Path) -> Study:
    """Return simulated volumes, simulating them unless they are there."""
    path = work / "manifest.jsonl"
    if not path.exists():
        simulate(work, STUDIES, 0, SIMULATED_MM, workers=1, progress=False, sequences=(SEQUENCE,))
    manifest = read_manifest(path).select(sequences=[SEQUENCE])
    data = VolumeDataset(manifest, Preprocessing((SPACING_MM,) * 3, SIZE))
    volumes = torch.stack([data[row]["image"] for row in range(len(data))])
    truth = read_truth(work / "truth.jsonl")
    shown = [words_of(truth[row.study]) for row in manifest.rows]
    counted = {word for words in shown for word in words}
    words = sorted(w for w in counted if sum(w in words for words in shown) >= FEWEST)
    labels = torch.tensor([[float(word in words_here) for word in words] for words_here in shown])
    groups: dict[str, list[int]] = {}
    for column, (group, _) in enumerate(words):
        groups.setdefault(group, []).append(column)
    patients = [row.patient or row.study for row in manifest.rows]
    return Study(volumes.to(memory_format=torch.channels_last_3d), labels, groups, patients)


def words_of(lesions: Sequence[Lesion]) -> set[tuple[str, str]]:
    """Return what the sequence shows, as pairs of a group and a word."""
    words = set()
    for lesion in lesions:
        if SEQUENCE in lesion.visible_in:
            words |= {("site", lesion.site), ("kind", lesion.kind)}
            sides = ("left", "right") if lesion.laterality == "bilateral" else (lesion.laterality,)
            words |= {("side", side) for side in sides if side}
    return words


def run(study: Study, pooling: str, seed: int) -> dict[str, float]:
    """Train with one pooling, and return the mean area under the curve of each group of labels."""
    torch.manual_seed(seed)
    encoder = create_image_encoder(
        "resnet10", embed_dim=128, pooling=pooling, width=0.25, stem="cubic", stages=3
    )
    model = nn.Sequential(encoder, nn.Linear(128, study.labels.shape[1]))
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # not in stubs
    order = torch.Generator().manual_seed(seed)
    train, test = split(study.patients, order)
    optimizer = torch.optim.AdamW(parameter_groups(model, RATE, weight_decay=0.05))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, epochs=EPOCHS, steps_per_epoch=len(train) // BATCH
    )
    loss_fn = nn.BCEWithLogitsLoss()
    for _ in range(EPOCHS):
        shuffled = train[torch.randperm(len(train), generator=order)]
        for batch in torch.split(shuffled[: len(train) // BATCH * BATCH], BATCH):
            optimizer.zero_grad()
            loss_fn(model(study.volumes[batch]), study.labels[batch]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        scores = torch.cat([model(study.volumes[batch]) for batch in torch.split(test, BATCH)])
    return {
        group: statistics.fmean(column_areas(scores, study.labels[test], columns))
        for group, columns in study.groups.items()
    }


def split(patients: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the volumes to train on and to test on: no patient in both."""
    names = sorted(set(patients))
    order = torch.randperm(len(names), generator=generator).tolist()
    chosen = {names[place] for place in order[: round(TRAINING_SHARE * len(names))]}
    trained = torch.tensor([patient in chosen for patient in patients])
    return trained.nonzero().flatten(), (~trained).nonzero().flatten()


def column_areas(scores: Tensor, labels: Tensor, columns: Sequence[int]) -> list[float]:
    """Return the area under the curve of each column that has both answers."""
    both = [column for column in columns if 0 < labels[:, column].sum() < len(labels)]
    return [
        area_under_curve(scores[labels[:, c] == 1, c], scores[labels[:, c] == 0, c]) for c in both
    ]


def difference(values: Sequence[float], baseline: Sequence[float]) -> dict[str, float]:
    """Return the mean paired difference over seeds and its 95 % interval by Student's t."""
    gains = [value - base for value, base in zip(values, baseline, strict=True)]
    mean, error = statistics.fmean(gains), stats.sem(gains)
    low, high = stats.t.interval(0.95, len(gains) - 1, loc=mean, scale=error)
    return {"mean": mean, "low": float(low), "high": float(high)}


def main() -> None:
    """Train with every pooling and seed, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    study = load(arguments.work)
    runs: dict[str, list[dict[str, float]]] = {pooling: [] for pooling in POOLINGS}
    for seed in range(arguments.seeds):
        for pooling in POOLINGS:
            runs[pooling].append(run(study, pooling, seed))
            print(seed, pooling, runs[pooling][-1], flush=True)
    values = {
        pooling: {group: [run[group] for run in found] for group in study.groups}
        for pooling, found in runs.items()
    }
    differences = {
        pooling: {g: difference(values[pooling][g], values["avg"][g]) for g in study.groups}
        for pooling in POOLINGS[1:]
    }
    result = {
        "studies": STUDIES,
        "epochs": EPOCHS,
        "labels": {group: len(columns) for group, columns in study.groups.items()},
        "area_under_curve": values,
        "paired_differences_from_avg": differences,
    }
    print(write_result("pooling", result).name)


if __name__ == "__main__":
    main()
