"""What the page shows, as plain data: numbers, texts and finished pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

ArmKey = Literal["clip", "similarity"]


@dataclass(frozen=True)
class Picture:
    """A picture that stands in the page itself.

    Attributes:
        source: A ``data:`` address.
        alt: What a person who cannot see it is told.
    """

    source: str
    alt: str


@dataclass(frozen=True)
class ReportTexts:
    """The report of one sequence.

    Attributes:
        sequence: Such as ``"FLAIR"``.
        english: The text that was trained on.
        chinese: The same in Chinese, or None.
    """

    sequence: str
    english: str
    chinese: str | None = None


@dataclass(frozen=True)
class SampleStudy:
    """One study: a slice of every sequence, the lesions in it, and its reports.

    Attributes:
        title: Such as ``"Study sim-00003"``.
        slice_mm: Height of the slice in millimetres (RAS).
        lesions: One line a lesion, and whether the slice cuts it.
        images: Sequence and slice, in the order of the study.
        reports: One a sequence.
    """

    title: str
    slice_mm: float
    lesions: Sequence[tuple[str, bool]]
    images: Sequence[tuple[str, Picture]]
    reports: Sequence[ReportTexts]


@dataclass(frozen=True)
class SimilarityMatrix:
    """Similarities of a few reports, all pairs.

    Attributes:
        title: Such as ``"As measured"``.
        caption: One sentence on how it came about.
        values: In [0, 1], in the order of the reports on the page.
    """

    title: str
    caption: str
    values: Float[np.ndarray, "n n"]


@dataclass(frozen=True)
class NearestReport:
    """One entry of a ranking.

    Attributes:
        text: The report.
        cosine: To the image.
        true: Whether it says what the image's own report says.
    """

    text: str
    cosine: float
    true: bool


@dataclass(frozen=True)
class HeldOutImage:
    """A test volume and the reports nearest to it.

    Attributes:
        title: Such as ``"sim-00031, T2"``.
        picture: A slice of it.
        text: Its own report.
        nearest: By name of the arm, best first.
    """

    title: str
    picture: Picture
    text: str
    nearest: Mapping[str, Sequence[NearestReport]]


@dataclass(frozen=True)
class Arm:
    """One of the two models.

    Attributes:
        name: Such as ``"Plain CLIP"``.
        key: Decides its colour.
        objective: What its loss does, a clause such as ``"Plain CLIP takes ..."``.
        retrieval: What :func:`selip_core.recipes.retrieve` returned.
        history: The rows of its ``history.jsonl``.
    """

    name: str
    key: ArmKey
    objective: str
    retrieval: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Page:
    """Everything on the page, in its order.

    Attributes:
        counts: Studies in ``"train"``, ``"validation"`` and ``"test"``, and ``"normal"`` of them.
        sequences: Those trained on.
        epochs: Passes over the training volumes.
        seed: Of data, weights and batches.
        arms: The two models, plain CLIP first.
        differences: The second less the first, as :func:`selip_core.recipes.compare` returns it.
        samples: Studies to look at.
        reports: A dozen reports.
        matrices: Their similarities.
        held_out: Test volumes with their nearest reports.
        seconds: By phase.
        environment: Name and value, as told.
        commands: To repeat the run.
    """

    counts: Mapping[str, int]
    sequences: Sequence[str]
    epochs: int
    seed: int
    arms: Sequence[Arm]
    differences: Mapping[str, Mapping[str, Mapping[str, float]]]
    samples: Sequence[SampleStudy]
    reports: Sequence[str]
    matrices: Sequence[SimilarityMatrix]
    held_out: Sequence[HeldOutImage]
    seconds: Mapping[str, float]
    environment: Mapping[str, str]
    commands: Sequence[str]
