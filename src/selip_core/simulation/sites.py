"""Where lesions sit: a rough table of our own, parts of the brain as ellipsoids in MNI millimetres.

The table was written by hand from the usual landmarks of the MNI152 space. It places the middle of
a lesion in about the right part of the right tissue, which is what a simulator needs; it is not an
atlas, and no border in it is meant exactly.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

Tissue = Literal["grey", "white", "parenchyma"]


@dataclass(frozen=True)
class Ellipsoid:
    """A region of the right hemisphere (or of the midline), in MNI millimetres."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]

    def contains(self, positions: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Tell which positions (MNI millimetres) lie inside."""
        scaled = (positions - np.array(self.centre)) / np.array(self.radii)
        return np.asarray((scaled**2).sum(axis=-1) <= 1)


@dataclass(frozen=True)
class Site:
    """A part of the brain that reports name.

    Attributes:
        regions: Ellipsoids on the right (x > 0); the left side is their mirror image.
        tissue: What the middle of a lesion lies in.
        largest_radius: Greatest radius of a lesion here, in millimetres.
        lateral: Whether there is a left and a right one; else the site is on the midline.
    """

    name: str
    regions: tuple[Ellipsoid, ...]
    tissue: Tissue = "parenchyma"
    largest_radius: float = 20.0
    lateral: bool = True


SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site(
            "frontal lobe",
            (
                Ellipsoid((30, 42, 12), (18, 18, 20)),
                Ellipsoid((34, 12, 46), (16, 14, 12)),
            ),
        ),
        Site(
            "parietal lobe",
            (
                Ellipsoid((42, -48, 42), (14, 14, 14)),
                Ellipsoid((22, -62, 48), (12, 12, 12)),
            ),
        ),
        Site(
            "temporal lobe",
            (
                Ellipsoid((52, -18, -14), (12, 24, 12)),
                Ellipsoid((38, 6, -28), (12, 10, 10)),
            ),
        ),
        Site("occipital lobe", (Ellipsoid((24, -84, 4), (16, 12, 18)),)),
        Site("insula", (Ellipsoid((38, 4, 0), (5, 15, 11)),), largest_radius=12),
        Site(
            "basal ganglia",
            (Ellipsoid((24, 2, 0), (7, 12, 8)), Ellipsoid((13, 14, 8), (4, 7, 7))),
            largest_radius=12,
        ),
        Site("thalamus", (Ellipsoid((12, -18, 8), (7, 9, 7)),), largest_radius=10),
        Site(
            "corona radiata",
            (Ellipsoid((25, -6, 25), (6, 18, 5)),),
            tissue="white",
            largest_radius=12,
        ),
        Site(
            "centrum semiovale",
            (Ellipsoid((24, -14, 40), (7, 22, 5)),),
            tissue="white",
            largest_radius=14,
        ),
        Site(
            "periventricular white matter",
            (
                Ellipsoid((20, 32, 10), (6, 7, 8)),
                Ellipsoid((29, -50, 16), (5, 10, 8)),
            ),
            tissue="white",
            largest_radius=14,
        ),
        Site(
            "corpus callosum",
            (
                Ellipsoid((0, 27, 8), (8, 6, 8)),
                Ellipsoid((0, -6, 26), (7, 18, 4)),
                Ellipsoid((0, -38, 14), (10, 6, 7)),
            ),
            tissue="white",
            largest_radius=12,
            lateral=False,
        ),
        Site("cerebellum", (Ellipsoid((24, -62, -36), (16, 13, 11)),)),
        Site(
            "brainstem",
            (Ellipsoid((0, -26, -34), (6, 6, 10)), Ellipsoid((0, -24, -14), (8, 5, 5))),
            largest_radius=9,
            lateral=False,
        ),
    )
}
"""Our own rough table of sites, by name."""
