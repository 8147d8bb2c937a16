"""What a lesion looks like in space: soft-edged blobs in the template's millimetres."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Positions = Float[np.ndarray, "n 3"]
Weights = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Morphology:
    """Proportions of a shape.

    Attributes:
        elongation: Longest radius over the mean of the two others.
        roughness: Height of the bumps of the surface, relative to the radius.
        foci: Fewest and most blobs.
        focus_radius: Smallest and greatest radius of a blob of a cluster, in millimetres; None
            for a single blob, which has the lesion's own radius.
    """

    elongation: float = 1.0
    roughness: float = 0.05
    foci: tuple[int, int] = (1, 1)
    focus_radius: tuple[float, float] | None = None


MORPHOLOGIES: dict[str, Morphology] = {
    "round": Morphology(),
    "ovoid": Morphology(elongation=1.8),
    "mass": Morphology(roughness=0.12),
    "irregular": Morphology(elongation=1.3, roughness=0.25),
    "patchy": Morphology(elongation=1.2, roughness=0.35),
    "punctate": Morphology(foci=(5, 9), focus_radius=(3.5, 5.0)),
    "confluent": Morphology(elongation=1.5, foci=(6, 9), focus_radius=(5.5, 8.0)),
}
"""Shapes by the word that a report uses."""


@dataclass(frozen=True, eq=False)
class Blob:
    """An ellipsoid with a bumpy surface.

    Attributes:
        centre: MNI millimetres.
        axes: Rows are the axes divided by their radii: they map to the unit sphere.
        radius: Mean radius in millimetres.
        bumps: Frequencies and phases of three waves on the surface.
        roughness: Height of the waves relative to the radius.
    """

    centre: Float[np.ndarray, "3"]
    axes: Float[np.ndarray, "3 3"]
    radius: float
    bumps: Float[np.ndarray, "3 4"]
    roughness: float

    def weights(self, positions: Positions, edge: float, grow: float = 0.0) -> Weights:
        """Return how much of each voxel is inside, in ``[0, 1]``.

        Args:
            positions: MNI millimetres.
            edge: Width of the soft edge in millimetres, about that of a voxel.
            grow: Millimetres added to the radius.
        """
        reach = 2.2 * self.radius + grow + edge
        offsets = positions - self.centre
        x, y, z = np.abs(offsets).T
        near = np.flatnonzero((x < reach) & (y < reach) & (z < reach))
        local = offsets[near] @ self.axes.T
        distance = np.sqrt((local**2).sum(axis=1))
        waves = np.sin(local @ self.bumps[:, :3].T + self.bumps[:, 3]).mean(axis=1)
        depth = (1 + 2 * self.roughness * waves - distance) * self.radius + grow
        weights = np.zeros(len(positions), dtype=np.float32)
        weights[near] = (0.5 + depth / edge).clip(0, 1)
        return weights


def draw_shape(
    rng: np.random.Generator, morphology: Morphology, centre: Float[np.ndarray, "3"], radius: float
) -> list[Blob]:
    """Draw the blobs of a lesion of this radius (millimetres) about a centre (MNI millimetres)."""
    if morphology.focus_radius is None:
        return [_draw_blob(rng, morphology, centre, radius)]
    count = int(rng.integers(morphology.foci[0], morphology.foci[1] + 1))
    spread = rng.normal(size=(count, 3)) * radius / 2 * (0.6, 1.3, 0.6)
    radii = rng.uniform(*morphology.focus_radius, size=count)
    return [
        _draw_blob(rng, morphology, centre + offset, focus)
        for offset, focus in zip(spread, radii, strict=True)
    ]


def union(blobs: list[Blob], positions: Positions, edge: float, grow: float = 0.0) -> Weights:
    """Return how much of each voxel is inside any of the blobs, in ``[0, 1]``."""
    return np.asarray(np.max([blob.weights(positions, edge, grow) for blob in blobs], axis=0))


def _draw_blob(
    rng: np.random.Generator, morphology: Morphology, centre: Float[np.ndarray, "3"], radius: float
) -> Blob:
    longest = morphology.elongation ** (2 / 3)  # the volume stays that of the radius
    radii = radius * np.array([longest, longest**-0.5, longest**-0.5]) * rng.uniform(0.9, 1.1, 3)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    bumps = np.column_stack([rng.normal(size=(3, 3)) * 2.5, rng.uniform(0, 2 * np.pi, 3)])
    return Blob(centre, axes.T / radii[:, None], radius, bumps, morphology.roughness)
