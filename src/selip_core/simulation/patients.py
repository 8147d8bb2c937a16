"""Who is examined: some patients twice, and each patient in one split."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selip_core.simulation.parameters import Parameters

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

SECOND_VISIT_SHARE = 0.2
"""How often a patient has a second study. The head is the same, the lesions are drawn anew."""

GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class Visit:
    """One study to be made.

    Attributes:
        index: Number of the study, from 0.
        patient_index: Number of the patient, from 0.
    """

    index: int
    patient_index: int
    split: Split

    @property
    def study(self) -> str:
        """The study's id."""
        return f"sim-{self.index:05d}"

    @property
    def patient(self) -> str:
        """The patient's id."""
        return f"sim-patient-{self.patient_index:05d}"


def schedule_visits(parameters: Parameters, studies: int) -> list[Visit]:
    """List the studies to make. A longer list begins with the shorter one.

    Patients go to the splits by a golden-ratio sequence, so that any first n of them are shared out
    almost exactly.

    Example:
        >>> [visit.split for visit in schedule_visits(Parameters(), 4)]
        ['test', 'train', 'train', 'train']
    """
    chance = np.random.default_rng(np.random.SeedSequence(parameters.seed, spawn_key=(0,)))
    start, second = chance.random(), chance.random(studies) < SECOND_VISIT_SHARE
    bounds = np.cumsum(parameters.split)[:2]
    visits: list[Visit] = []
    for index in range(studies):
        earlier = [visit.patient_index for visit in visits[-2:]]
        patient = earlier[-1] if earlier else -1
        came_once = earlier != [patient, patient] and index > 0
        patient += 0 if came_once and second[index] else 1
        place = (start + patient * GOLDEN_RATIO) % 1
        split = SPLITS[int(np.searchsorted(bounds, place, side="right"))]
        visits.append(Visit(index, patient, split))
    return visits
