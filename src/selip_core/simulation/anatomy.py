"""The healthy head: tissue fractions of the MNI152 2009 template that nilearn carries.

The packaged template has no skull, so neither have our studies: they look like skull-stripped MRI.

Source: V. Fonov et al., "Unbiased average age-appropriate brain templates from birth to adulthood",
NeuroImage 47 (2009), ICBM 2009a nonlinear symmetric.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from selip_core._optional import require
from selip_core.simulation.sites import SITES, Site

FAINT = 0.02
"""A voxel of the template with less tissue and fluid than this is empty."""

Maps = Float[np.ndarray, "tissue x y z"]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Tissue fractions in template space, blurred to what voxels of the asked spacing can show.

    Attributes:
        tissues: Fractions in ``[0, 1]`` of grey matter, white matter and fluid, in this order.
        near: Where the maps are not empty, with a margin of one voxel.
        origin: RAS millimetres of the first voxel.
        step: Edge of a voxel of the maps in millimetres.
        seeds: For each site the places where a lesion may start, MNI millimetres, right side or
            midline (x >= 0 for a lateral site).
    """

    tissues: Maps
    near: Bool[np.ndarray, "x y z"]
    origin: Float[np.ndarray, "3"]
    step: float
    seeds: Mapping[str, Float[np.ndarray, "n 3"]]

    def may_hold(self, positions: Float[np.ndarray, "*shape 3"]) -> Bool[np.ndarray, "*shape"]:
        """Tell which positions (MNI millimetres) are in the brain or close to it."""
        indices = np.rint(self._to_indices(positions)).astype(np.int32)
        last = np.array(self.near.shape, dtype=np.int32) - 1
        return np.asarray(self.near[tuple(np.moveaxis(indices.clip(0, last), -1, 0))])

    def sample(self, positions: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "3 *shape"]:
        """Return the fractions of grey, white and fluid at these MNI millimetres (0 outside)."""
        ndimage = require("scipy.ndimage", "demo")
        indices = np.moveaxis(self._to_indices(positions), -1, 0)
        return np.stack([ndimage.map_coordinates(map_, indices, order=1) for map_ in self.tissues])

    def _to_indices(
        self, positions: Float[np.ndarray, "*shape 3"]
    ) -> Float[np.ndarray, "*shape 3"]:
        return np.asarray((positions - self.origin) / np.float32(self.step), dtype=np.float32)


@lru_cache(maxsize=2)
def load_anatomy(spacing: float) -> Anatomy:
    """Load the template once per process and spacing (millimetres).

    Blocks of ``spacing / 2`` are averaged and then blurred, so that sampling at ``spacing`` does
    not alias.
    """
    ndimage = require("scipy.ndimage", "demo")
    fine, origin = _load_template()
    step = max(1, int(spacing // 2))
    maps = np.stack([_block_mean(map_, step) for map_ in fine])
    sigma = 0.35 * spacing / step
    maps = np.stack([ndimage.gaussian_filter(map_, sigma) for map_ in maps])
    near = ndimage.binary_dilation(maps.sum(axis=0) > FAINT)
    middle = (origin + (step - 1) / 2).astype(np.float32)
    return Anatomy(maps, near, middle, step, _find_seeds(fine, origin))


def _load_template() -> tuple[Maps, Float[np.ndarray, "3"]]:
    """Return grey, white and fluid at 1 mm, and the millimetres of the first voxel."""
    brain, affine = _read_map("t1")
    head = brain > 0
    grey, white = (head * _read_map(name)[0] / 255 for name in ("gm", "wm"))
    fluid = (head - grey - white).clip(0, 1)
    return np.stack([grey, white, fluid]), affine[:3, 3]


def _read_map(name: str) -> tuple[Float[np.ndarray, "x y z"], Float[np.ndarray, "4 4"]]:
    """Read a map, 0 to 255, and its affine from nilearn's package folder.

    Not by ``nilearn.datasets``, which would import pandas and scikit-learn in every process.
    """
    import nibabel

    folder = Path(require("nilearn", "demo").__path__[0]) / "datasets" / "data"
    image = nibabel.Nifti1Image.from_filename(
        folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    )
    return image.get_fdata(dtype=np.float32), image.affine


def _block_mean(map_: Float[np.ndarray, "x y z"], step: int) -> Float[np.ndarray, "_x _y _z"]:
    x, y, z = (size // step for size in map_.shape)
    blocks = map_[: x * step, : y * step, : z * step].reshape(x, step, y, step, z, step)
    return np.asarray(blocks.mean(axis=(1, 3, 5)))


def _find_seeds(fine: Maps, origin: Float[np.ndarray, "3"]) -> dict[str, Float[np.ndarray, "n 3"]]:
    """Find the starting places on every second millimetre, the same at every spacing."""
    grey, white = fine[0, ::2, ::2, ::2], fine[1, ::2, ::2, ::2]
    fractions = {"grey": grey, "white": white, "parenchyma": grey + white}
    positions = origin + 2.0 * np.moveaxis(np.indices(grey.shape), 0, -1)
    return {
        site.name: _seeds_of(site, positions[fractions[site.tissue] > 0.7])
        for site in SITES.values()
    }


def _seeds_of(site: Site, positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
    inside = np.any([region.contains(positions) for region in site.regions], axis=0)
    if site.lateral:
        inside &= positions[:, 0] > 0
    return np.asarray(positions[inside])
