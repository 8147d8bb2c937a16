"""Which lesions a patient has: drawn from the long-tailed frequencies of kinds, sites and sides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from selip_core.simulation.kinds import KINDS, SMALL_VESSEL, Kind, Stage
from selip_core.simulation.sites import SITES, Site

Laterality = Literal["left", "right", "bilateral"]
SIDES: tuple[Laterality, ...] = ("left", "right", "bilateral")

LESION_COUNTS: dict[int, float] = {1: 0.55, 2: 0.27, 3: 0.13, 4: 0.05}
"""How many lesions an abnormal study has, and how often."""

SAME_KIND_SHARE = 0.5
"""A further lesion is of the first one's kind this often, else chronic small-vessel change."""

T = TypeVar("T")


@dataclass(frozen=True)
class Lesion:
    """One lesion before it has a shape.

    Attributes:
        laterality: None at a site on the midline.
        radius: Millimetres.
    """

    kind: Kind
    stage: Stage
    site: Site
    laterality: Laterality | None
    morphology: str
    radius: float


def draw_lesions(
    rng: np.random.Generator, normal_share: float = 0.4, tail: float = 1.0
) -> list[Lesion]:
    """Draw the lesions of one study: none with probability ``normal_share``, else one to four.

    No two lesions of a study share their site.

    Args:
        rng: Source of chance.
        normal_share: Probability of a normal study, in ``[0, 1]``.
        tail: Power of the frequencies of kinds, sites and sides: 1 is a hospital's long tail,
            0 makes all equally frequent.

    Example:
        >>> lesions = draw_lesions(np.random.default_rng(0), normal_share=0.0)
        >>> 1 <= len(lesions) <= 4
        True
    """
    if rng.random() < normal_share:
        return []
    count = draw(rng, LESION_COUNTS)
    first = KINDS[draw(rng, {kind.name: kind.weight for kind in KINDS.values()}, tail)]
    lesions = [_draw_lesion(rng, first, first.sites, tail)]
    for _ in range(count - 1):
        kind = first if rng.random() < SAME_KIND_SHARE else SMALL_VESSEL
        taken = {lesion.site.name for lesion in lesions}
        free = {name: weight for name, weight in kind.sites.items() if name not in taken}
        lesions.append(_draw_lesion(rng, kind, free, tail))
    return lesions


def draw(rng: np.random.Generator, weights: Mapping[T, float], tail: float = 1.0) -> T:
    """Draw one key, with probability proportional to its weight to the power ``tail``.

    A weight of zero is never drawn.
    """
    keys = [key for key, weight in weights.items() if weight > 0]
    powers = np.array([weights[key] ** tail for key in keys])
    return keys[int(rng.choice(len(keys), p=powers / powers.sum()))]


def _draw_lesion(
    rng: np.random.Generator, kind: Kind, sites: Mapping[str, float], tail: float
) -> Lesion:
    site = SITES[draw(rng, sites, tail)]
    return Lesion(
        kind=kind,
        stage=kind.stages[draw(rng, {i: stage.weight for i, stage in enumerate(kind.stages)})],
        site=site,
        laterality=_draw_side(rng, kind, site, tail),
        morphology=draw(rng, kind.morphologies),
        radius=_draw_radius(rng, kind.radius[0], min(kind.radius[1], site.largest_radius)),
    )


def _draw_radius(rng: np.random.Generator, smallest: float, largest: float) -> float:
    """Draw a radius in millimetres; smaller ones are more frequent."""
    largest = max(largest, smallest + 1)
    return float(rng.triangular(smallest, (2 * smallest + largest) / 3, largest))


def _draw_side(rng: np.random.Generator, kind: Kind, site: Site, tail: float) -> Laterality | None:
    side = draw(rng, dict(zip(SIDES, kind.sides, strict=True)), tail)
    return side if site.lateral else None
