"""Lesions put into a head: which voxels each one takes, and how much of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from selip_core.simulation.anatomy import Anatomy
from selip_core.simulation.contrast import Tissue
from selip_core.simulation.lesions import Lesion
from selip_core.simulation.shapes import MORPHOLOGIES, Blob, draw_shape, union

SMALLEST_ML = 0.3
"""A lesion that would show less of itself than this is drawn again elsewhere in its site."""

ATTEMPTS = 20
OEDEMA_WIDTH = (6.0, 11.0)
"""Width of the oedema around a mass, in millimetres."""

RIM_SHARE = 0.35
"""A lesion of mixed signal has a rim of this share of its radius."""


@dataclass(frozen=True, eq=False)
class Head:
    """The voxels of one head that are not air.

    Attributes:
        positions: Where each comes from, in MNI millimetres.
        tissue: What each consists of.
        spacing: Edge of a voxel in millimetres.
    """

    positions: Float[np.ndarray, "n 3"]
    tissue: Tissue
    spacing: float


@dataclass(frozen=True, eq=False)
class PlacedLesion:
    """A lesion and its share of every voxel of the head, in ``[0, 1]``.

    Attributes:
        body: The lesion itself.
        core: The body without its rim.
        oedema: The swelling around the body; zero where the stage has none.
    """

    lesion: Lesion
    body: Float[np.ndarray, " n"]
    core: Float[np.ndarray, " n"]
    oedema: Float[np.ndarray, " n"]

    def mask(self, tissue: Tissue) -> Bool[np.ndarray, " n"]:
        """Tell the voxels that are mostly lesion."""
        solid = np.ones_like(self.body) if self.lesion.kind.fills else tissue.parenchyma
        return np.asarray(self.body * solid >= 0.4)


def place_lesions(
    rng: np.random.Generator, lesions: list[Lesion], head: Head, anatomy: Anatomy
) -> list[PlacedLesion]:
    """Give every lesion a place and a shape; none overlaps an earlier one.

    A lesion that does not fit after twenty attempts is left out.
    """
    free = np.ones(len(head.positions), dtype=np.float32)
    placed = []
    for lesion in lesions:
        found = _place(rng, lesion, head, anatomy, free)
        if found is not None:
            placed.append(found)
            free = free * (1 - found.body)
    return placed


def _place(
    rng: np.random.Generator,
    lesion: Lesion,
    head: Head,
    anatomy: Anatomy,
    free: Float[np.ndarray, " n"],
) -> PlacedLesion | None:
    for _ in range(ATTEMPTS):
        candidate = _grow(rng, lesion, head, anatomy, free)
        if candidate.mask(head.tissue).sum() * head.spacing**3 / 1000 >= SMALLEST_ML:
            return candidate
    return None


def _grow(
    rng: np.random.Generator,
    lesion: Lesion,
    head: Head,
    anatomy: Anatomy,
    free: Float[np.ndarray, " n"],
) -> PlacedLesion:
    seeds = anatomy.seeds[lesion.site.name]
    blobs = _draw_blobs(rng, lesion, seeds[rng.integers(len(seeds))])
    allowed = free * _allowed(lesion, head)
    body = union(blobs, head.positions, head.spacing) * allowed
    core = union(blobs, head.positions, head.spacing, -RIM_SHARE * lesion.radius) * allowed
    oedema = np.zeros_like(body)
    if lesion.stage.oedema:
        swollen = union(blobs, head.positions, 2 * head.spacing, rng.uniform(*OEDEMA_WIDTH))
        # Oedema spreads along white matter and spares the cortex.
        oedema = (swollen * allowed - body).clip(0) * _white_share(head.tissue)
    return PlacedLesion(lesion, body, core, oedema)


def _draw_blobs(
    rng: np.random.Generator, lesion: Lesion, seed: Float[np.ndarray, "3"]
) -> list[Blob]:
    """Draw the shape on the side or sides where the lesion is; left is negative x."""
    mirror = np.array([-1.0, 1.0, 1.0])
    centres = {"right": [seed], "left": [seed * mirror], None: [seed]}.get(
        lesion.laterality, [seed, seed * mirror + rng.normal(size=3) * 2]
    )
    morphology = MORPHOLOGIES[lesion.morphology]
    shapes = [draw_shape(rng, morphology, centre, lesion.radius) for centre in centres]
    return [blob for shape in shapes for blob in shape]


def _allowed(lesion: Lesion, head: Head) -> Float[np.ndarray, " n"]:
    """Return where the lesion may be: on its side of the falx, in the tissue it affects."""
    x = head.positions[:, 0]
    side = {"left": -x, "right": x}.get(lesion.laterality or "", np.full_like(x, np.inf))
    allowed = (side / head.spacing + 0.5).clip(0, 1)
    return allowed * _white_share(head.tissue) if lesion.kind.white_only else allowed


def _white_share(tissue: Tissue) -> Float[np.ndarray, " n"]:
    """Return 1 where white matter prevails, falling to 0 in pure grey matter or fluid."""
    return np.asarray((1.6 * tissue.white / (tissue.parenchyma + tissue.fluid + 1e-6)).clip(0, 1))
