"""What the targets of the arms ask for on one data set, as ``describe()`` tells it of yours."""

from pathlib import Path

import torch

from evidence_data import load_data
from evidence_rows import rounded
from evidence_runs import ARMS, Run
from evidence_training import Training
from selip_core import SyntaxSimilarity
from selip_core.findings import NORMAL_LABEL, distinct_label

SEED = 0
BATCHES = (16, 50, 512)


def target_masses(work: Path) -> dict[str, dict[str, float]]:
    """Return, of each arm with a target, where the mass of the rows of abnormal reports lies.

    The rows are those of the first training batches, each divided by its sum, without the CLIP
    term. Normal reports are left out: what they share with each other hides what the others do.

    Returns:
        By arm ``own_mass``, the share of the own report, and ``same_mass``, with all of equal
        findings.
    """
    runs = [Run(name, SEED) for name, arm in ARMS.items() if arm.target]
    return {run.arm: rounded(masses(run, work)) for run in runs}


def distinct_masses(work: Path) -> dict[str, float]:
    """Return what ``describe()`` calls distinct of the default on one data set, by batch size."""
    train = load_data(work, Run("best8", SEED).data).train
    described = SyntaxSimilarity().fit(train.reports).describe(batch_sizes=BATCHES)
    return {
        str(size): rounded(batch.distinct_mass)
        for size, batch in zip(BATCHES, described.batches, strict=True)
    }


def masses(run: Run, work: Path) -> dict[str, float]:
    """Return the means over the abnormal rows of the first batches of a run."""
    training = Training.of(run, load_data(work, run.data))
    assert training.target is not None
    labels = [distinct_label(report) for report in training.reports]
    known = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    numbers = torch.tensor([known[label] for label in labels])
    own, same = [], []
    for rows in training.first:
        values = training.target(rows).dense().double()
        wanted = values / values.sum(1, keepdim=True).clamp(min=1e-12)
        is_same = numbers[rows, None] == numbers[None, rows]
        is_abnormal = torch.tensor([labels[row] != NORMAL_LABEL for row in rows.tolist()])
        own.append(wanted.diagonal()[is_abnormal])
        same.append((wanted * is_same).sum(1)[is_abnormal])
    return {"own_mass": float(torch.cat(own).mean()), "same_mass": float(torch.cat(same).mean())}
