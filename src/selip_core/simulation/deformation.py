"""Heads differ: an affine map and a smooth warp from a study's space to the template's."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from selip_core.simulation.grid import CENTRE, Grid

WAVES = 5
"""Cosines along each axis; the shortest half wave is a quarter of the field of view."""


def draw_waves(rng: np.random.Generator, size: float) -> Float[np.ndarray, "WAVES WAVES WAVES"]:
    """Draw amplitudes of a smooth field whose typical value is ``size``; slow waves dominate."""
    orders = np.indices((WAVES, WAVES, WAVES))
    fall = 1 / (1 + (orders**2).sum(axis=0))
    fall[0, 0, 0] = 0  # no constant part: shifts and gains are drawn on their own
    size /= float(np.sqrt((fall**2).sum() / 2))
    return np.asarray(rng.normal(size=fall.shape) * fall * size)


def smooth_field(
    waves: Float[np.ndarray, "WAVES WAVES WAVES"], shape: tuple[int, int, int]
) -> Float[np.ndarray, "x y z"]:
    """Sum cosine waves over the grid, one axis after another."""
    field = waves
    for count in shape:
        places = (np.arange(count) + 0.5) / count
        cosines = np.cos(np.pi * np.outer(np.arange(WAVES), places))
        field = np.tensordot(field, cosines, axes=(0, 0))  # the new axis goes last
    return field.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Deformation:
    """Map from a study's RAS millimetres to the template's.

    Attributes:
        matrix: Rotation and scale about the middle of the field of view.
        shift: Millimetres.
        waves: Amplitudes in millimetres of the displacement along x, y and z.
    """

    matrix: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]
    waves: Float[np.ndarray, "3 WAVES WAVES WAVES"]

    def to_template(self, grid: Grid) -> Float[np.ndarray, "x y z 3"]:
        """Return where every voxel of the grid comes from, in MNI millimetres."""
        centre = np.array(CENTRE)
        moved = (grid.positions() - centre) @ self.matrix.T + centre + self.shift
        warp = [smooth_field(waves, grid.shape) for waves in self.waves]
        return np.asarray(moved + np.stack(warp, axis=-1), dtype=np.float32)


def draw_deformation(patient: np.random.Generator, visit: np.random.Generator) -> Deformation:
    """Draw a head (scale and warp, the same at every visit) and how it lies in the scanner."""
    scale = patient.normal(1.0, 0.04, size=3).clip(0.9, 1.1)
    waves = np.stack([draw_waves(patient, size=3.0) for _ in range(3)])
    rotation = _rotation(np.radians(visit.normal(0, 3, size=3).clip(-8, 8)))
    return Deformation(rotation / scale, visit.normal(0, 2, size=3).clip(-5, 5), waves)


def _rotation(angles: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Rotate about x, then y, then z by these radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[j, i], turn[i, j] = np.sin(angle), -np.sin(angle)
        matrix = turn @ matrix
    return matrix
