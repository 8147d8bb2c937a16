"""The voxel grid of a study: a box that holds the head, at the spacing asked for."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FIELD_OF_VIEW = (192.0, 224.0, 192.0)
"""Size of the box in millimetres: left to right, posterior to anterior, inferior to superior."""

CENTRE = (0.0, -17.0, 5.0)
"""Middle of the box in MNI millimetres: the middle of the template's brain."""


@dataclass(frozen=True)
class Grid:
    """Cubic voxels in RAS order: x grows to the right, y to anterior, z to superior.

    Args:
        spacing: Edge of a voxel in millimetres.

    Example:
        >>> grid = Grid(4.0)
        >>> grid.shape
        (48, 56, 48)
        >>> grid.affine[:3, 3].tolist()
        [-94.0, -127.0, -89.0]
    """

    spacing: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y and z."""
        x, y, z = (max(1, round(size / self.spacing)) for size in FIELD_OF_VIEW)
        return x, y, z

    @property
    def affine(self) -> Float[np.ndarray, "4 4"]:
        """Voxel index to RAS millimetres."""
        affine = np.diag([self.spacing, self.spacing, self.spacing, 1.0])
        affine[:3, 3] = np.subtract(CENTRE, self.spacing * (np.array(self.shape) - 1) / 2)
        return affine

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return self.spacing**3 / 1000

    def positions(self) -> Float[np.ndarray, "x y z 3"]:
        """Centre of every voxel in RAS millimetres."""
        axes = [
            origin + self.spacing * np.arange(count)
            for origin, count in zip(self.affine[:3, 3], self.shape, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)
