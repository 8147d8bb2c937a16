"""What a run of the study of evidence is, and what its arms are."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Self

from selip_core.losses import WeightSchedule

MIDDLE_TRAIN = 1000
MIDDLE_SEQUENCES = ("FLAIR",)
MIDDLE_SPACING_MM = 5.0
EXTENT_MM = (160.0, 200.0, 160.0)
MIDDLE_BATCH = 50
MIDDLE_STEPS = 200
"""Ten passes over 1,000 studies in batches of 50."""

LOGGED = 25
"""How often the mechanism is looked at in a run: in the middle, every eighth step."""


@dataclass(frozen=True)
class DataSettings:
    """What decides a data set.

    Attributes:
        seed: Of the simulation.
        train: Training studies.
        normal_share: Share of normal studies.
        tail: 1: findings as long-tailed as a hospital's; 0: all equally frequent.
        sequences: Volumes of a study.
        spacing_mm: Of their voxels.
    """

    seed: int
    train: int = MIDDLE_TRAIN
    normal_share: float = 0.4
    tail: float = 1.0
    sequences: tuple[str, ...] = MIDDLE_SEQUENCES
    spacing_mm: float = MIDDLE_SPACING_MM

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels of a volume: depth, height, width."""
        depth, height, width = (round(extent / self.spacing_mm) for extent in EXTENT_MM)
        return depth, height, width


@dataclass(frozen=True)
class Run:
    """One run: an arm, a seed, and every factor; the defaults are the middle of the study.

    Attributes:
        arm: A name of ``ARMS``.
        seed: Of data, initial weights and order of batches: equal for all arms of a seed.
        train: Training studies.
        normal_share: Share of normal studies.
        tail: 1: findings as long-tailed as a hospital's; 0: all equally frequent.
        noise: Share of the training findings' fields that are wrong or missing to the target.
        permuted: Whether the training reports are permuted among the images: nothing to learn.
        batch: Pairs in a batch.
        width: Factor on the channels of the image encoder.
        passes: Factor on the steps.
        learn_scale: Whether the logit scale is learned.
        align_weight: Weight of the CLIP term where there is a target; without one it is 1.
        similarity_weight: Weight of the target.
        schedule: Of the similarity weight.
        learning_rate: Peak rate, in batches of 50.
        encoder: Name of the image encoder.
        sequences: Volumes of a study.
        spacing_mm: Of their voxels.
    """

    arm: str
    seed: int
    train: int = MIDDLE_TRAIN
    normal_share: float = 0.4
    tail: float = 1.0
    noise: float = 0.0
    permuted: bool = False
    batch: int = MIDDLE_BATCH
    width: float = 0.25
    passes: float = 1.0
    learn_scale: bool = True
    align_weight: float = 0.5
    similarity_weight: float = 0.5
    schedule: WeightSchedule = "constant"
    learning_rate: float = 3e-3
    encoder: str = "resnet10"
    sequences: tuple[str, ...] = MIDDLE_SEQUENCES
    spacing_mm: float = MIDDLE_SPACING_MM

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the run that a row tells; what older rows do not tell is as in the middle."""
        known = dict(values)
        known["sequences"] = tuple(known.get("sequences", MIDDLE_SEQUENCES))
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Return what a row tells of this run."""
        return dataclasses.asdict(self) | {"sequences": list(self.sequences)}

    def told(self) -> str:
        """Return arm, rate and whatever is not as in the middle, but not the seed."""
        middle = dataclasses.asdict(Run(self.arm, self.seed, learning_rate=self.learning_rate))
        factors = [
            f"{name} {value}"
            for name, value in dataclasses.asdict(self).items()
            if value != middle[name]
        ]
        named = f"{self.arm}, rate {self.learning_rate:g}"
        return ", ".join([named, *factors])

    @property
    def key(self) -> str:
        """Tells this run from all others."""
        return json.dumps(self.to_json(), sort_keys=True)

    @property
    def data(self) -> DataSettings:
        """The data set of this run."""
        return DataSettings(
            self.seed,
            self.train,
            self.normal_share,
            self.tail,
            self.sequences,
            self.spacing_mm,
        )

    @property
    def steps(self) -> int:
        """Optimiser steps: the pairs that are seen grow with the root of the training volumes."""
        volumes = self.train * len(self.sequences)
        pairs: float = MIDDLE_STEPS * MIDDLE_BATCH * (volumes / MIDDLE_TRAIN) ** 0.5
        return round(self.passes * pairs / self.batch)

    @property
    def peak_learning_rate(self) -> float:
        """The rate grows with the root of the batch, as is usual for Adam."""
        return float(self.learning_rate * (self.batch / MIDDLE_BATCH) ** 0.5)


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        told: What it is, for people.
        target: A name of ``evidence_targets.TARGETS``; None is plain CLIP.
        smoothed: Smooth labels to the entropy of the arm ``best8``.
        max_duplicates: How often a batch may hold a report; None is any number.
        max_normal: How many normal reports a batch may hold; None is any number.
        clamp_eps: The paper's clamp.
        fixed_scale: The logit scale stays at 14.3 in any case.
    """

    told: str
    target: str | None = None
    smoothed: bool = False
    max_duplicates: int | None = None
    max_normal: int | None = None
    clamp_eps: float | None = None
    fixed_scale: bool = False


ARMS: dict[str, Arm] = {
    "clip": Arm("plain CLIP"),
    "clip smoothed": Arm("CLIP, labels smoothed to the entropy of best8", smoothed=True),
    "clip one normal": Arm("CLIP, one normal report at most in a batch", max_normal=1),
    "clip unique": Arm(
        "CLIP, no report twice in a batch, one normal at most", max_duplicates=1, max_normal=1
    ),
    "identical": Arm("equal findings are positives, nothing else", "identical"),
    "paper exact": Arm("the paper's similarity as it is", "paper"),
    "paper as trained": Arm(
        "the paper's similarity, clamps 1e-3, logit scale fixed at 14.3, unique reports",
        "paper",
        max_duplicates=1,
        max_normal=1,
        clamp_eps=1e-3,
        fixed_scale=True,
    ),
    "mean1": Arm("mean over pairs of findings", "mean1"),
    "mean8": Arm("mean over pairs of findings, to the power 8", "mean8"),
    "best1": Arm("best match of findings", "best1"),
    "best4": Arm("best match of findings, to the power 4", "best4"),
    "best8": Arm("best match of findings, to the power 8", "best8"),
    "best8 unique": Arm(
        "best8, no report twice in a batch, one normal at most",
        "best8",
        max_duplicates=1,
        max_normal=1,
    ),
    "semantic": Arm("embeddings of the reports' texts, exp((cos - 1) / 0.1)", "semantic"),
    "mixed": Arm("half best8, half semantic", "mixed"),
    "shuffled": Arm("best8 of permuted reports: control", "shuffled"),
    "oracle": Arm("the simulator's own lesions, to the power 8: control", "oracle"),
}
"""All arms by name."""
